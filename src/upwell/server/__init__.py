"""One ASGI app: Kubernetes-style API, webhooks, pages for approvals, metrics, and the registry."""
