"""Stored state of the server's components, for people and Subscriptions."""
