"""Contents of images: the packages of each digest, read from their layers and kept.

Rebuildable at any time from the registry. Never decides what a package's version means.
"""
