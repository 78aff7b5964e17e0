"""Dockerfiles: parsing, pinning their images, and what they may ask of the machine."""
