"""Signatures and attestations of the images that builds make and stages verify."""
