"""Shows a summary and its samples; see bench/__init__.py."""
