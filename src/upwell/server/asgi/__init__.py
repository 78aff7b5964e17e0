"""The ASGI application and how it is served: TLS, listening, access log."""
