"""Compose files as the commands read them."""
