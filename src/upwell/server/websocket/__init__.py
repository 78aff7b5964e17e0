"""Streaming protocols of Kubernetes clients: WebSocket channels, SPDY/3.1, tunnels."""
