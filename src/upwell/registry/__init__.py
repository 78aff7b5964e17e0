"""Registries of images: the port, the client of any OCI registry, and the embedded registry.

Never decides what to import or to push: reconcilers do.
"""
