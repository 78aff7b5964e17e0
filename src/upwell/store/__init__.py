"""Stores of objects: the port, and one module for each place (memory, SQLite, an API server).

Knows no kind in particular; never decides anything about an object's content.
"""
