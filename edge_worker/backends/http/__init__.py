"""Forwards exchanges to HTTP servers beside the worker: one that exists already is served without being changed."""
