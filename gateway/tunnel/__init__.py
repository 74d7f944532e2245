"""Workers that dialled in: the WebSocket route, the wire protocol over it, and one link per worker."""
