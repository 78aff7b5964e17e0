"""The embedded registry's storage."""
