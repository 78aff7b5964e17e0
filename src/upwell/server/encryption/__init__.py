"""Encryption of the store: its state, and the rotation of its keys."""
