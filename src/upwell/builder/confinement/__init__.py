"""Confinement of builds on this machine: network, user ids, limits, control groups."""
