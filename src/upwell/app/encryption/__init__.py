"""Encryption of the data folder: what it composes, its rotation, and the watch of its key."""
