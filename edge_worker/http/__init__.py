"""The worker as a plain HTTP server, without a gateway. The only importer of aiohttp on the worker's side."""
