"""HTTP/1.1 on trio and h11: a small server that speaks ASGI, held streams, and our client.

Begin with server.py (serving and draining), then connection.py and exchange.py (one client,
one request). streams.py, lines.py and sse.py make held answers; client.py finds the leading coordinator.
"""
