"""Signatures, attestations and SBOMs beside images, in any registry: read, added to, mirrored.

All of it was written by strangers: what is no such document is passed over, and hinders nothing.
"""
