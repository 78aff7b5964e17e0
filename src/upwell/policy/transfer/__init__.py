"""Moves of all objects between the store of one machine and a cluster: what changes on the way."""
