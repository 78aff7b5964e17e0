"""Waves: what follows a change of a base image, and how far it is."""
