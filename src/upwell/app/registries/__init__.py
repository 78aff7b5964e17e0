"""Composes the client of registries and what copies images, for commands that stand alone."""
