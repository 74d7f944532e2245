"""How many workers one gateway holds: memory, heartbeats, joining, returning, deciding. `python -m bench.fleet`."""
