"""Waves: a change of base images, all that it reaches, and in which order."""
