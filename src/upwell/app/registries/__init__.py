"""Composes registries: that of builds, and what commands that stand alone use of others."""
