"""Compose files: reading, interpolation, and the model of a service that they describe."""
