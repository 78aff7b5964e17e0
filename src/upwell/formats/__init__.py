"""Formats and contracts that others define: Dockerfiles, Source-to-Image, CloudEvents, traces.

Pure: they are parsed, checked and written here; nothing decides what is done with them.
"""
