"""Pruning of what grows, on a machine or a cluster: its ports, and when it runs."""
