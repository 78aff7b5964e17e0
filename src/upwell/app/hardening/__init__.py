"""Looks at a running installation for the hardening list: its settings, files and objects."""
