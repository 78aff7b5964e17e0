"""Runs containers: the port, and Podman behind it.

Never decides what should run: the rollout policy does, from what the adapter reports.
"""
