"""One ASGI app: the Kubernetes-style API, webhooks, pages for approvals, metrics, and the registry."""
