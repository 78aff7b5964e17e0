"""Formats and contracts that others define.

Dockerfiles, Source-to-Image, CloudEvents, Trace Context, sigstore; kubectl's cells, paths
and durations.
Pure: they are parsed, checked and written here; nothing decides what is done with them.
"""
