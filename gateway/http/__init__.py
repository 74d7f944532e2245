"""The client-facing side: HTTP in, jobs out. The only package that imports aiohttp (with the WebSocket's two files)."""
