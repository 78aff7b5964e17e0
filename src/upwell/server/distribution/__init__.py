"""The OCI distribution API v1.1 under /v2/."""
