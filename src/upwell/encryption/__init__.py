"""Encryption at rest: one sealed form, keys that lie elsewhere, key files and databases by them."""
