"""Quotas of namespaces: what an object takes of them, and what is used."""
