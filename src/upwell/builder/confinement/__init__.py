"""Means to confine builds on this machine: network, user ids, limits, control groups."""
