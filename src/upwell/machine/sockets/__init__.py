"""Sockets of this machine: which are served first, who listens, why nobody answers."""
