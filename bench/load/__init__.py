"""Makes requests at intended times and records each of them; see bench/__init__.py."""
