"""Repositories that say what shall run: read, and committed to, by git.

Changes are added on top of what others have committed; nothing is ever forced.
"""
