"""One ASGI app: the Kubernetes-style API, webhooks, the console, metrics, and the registry."""
