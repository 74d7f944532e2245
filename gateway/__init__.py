"""The public side: one HTTPS port for clients and workers, auth, health and least-loaded dispatch."""
