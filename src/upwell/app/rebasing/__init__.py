"""Composes what rebases images in registries, for the command line."""
