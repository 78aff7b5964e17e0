"""Limits of what is decoded, for those who read it and need no YAML yet."""

MAX_MANIFEST_BYTES = 8 * 1024 * 1024
