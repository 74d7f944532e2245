"""`make demo`: the whole path on one machine, as separate processes, with real TLS and real tokens."""
