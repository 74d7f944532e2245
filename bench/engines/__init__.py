"""`python -m bench.engines`: what gateway, tunnel and worker leave of an engine's speed, as ratios of one run.

Everything is measured in turns, block by block and round by round, so that a busy machine disturbs all alike; a ratio
is that of two blocks of one round. Beside each rate stands the CPU time of an image, which no wait for a core changes.
"""
