"""Prunes over the API."""
