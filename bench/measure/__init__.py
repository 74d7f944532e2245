"""Turns samples into numbers; see bench/__init__.py."""
