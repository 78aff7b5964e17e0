"""Requests that are only ever created, and answered with what came of them."""
