"""Which models a worker has: descriptions, checks, and the one that is shipped. Loads no engine."""
