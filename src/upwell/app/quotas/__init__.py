"""Quotas of what is stored beside the objects, composed for the adapters and the reconciler."""
