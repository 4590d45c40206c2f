"""The clients' side: HTTP/1.1 and WebSocket connections as a server sees them, spoken to in ASGI."""
