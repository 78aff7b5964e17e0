"""Turns a build plan into an image in a registry: the port, the Buildah adapter, build logs.

Never decides when to build or what the inputs are: the plan names every digest.
"""
