"""Checks of stages, one module for each kind: what an attempt does next, and how it has ended."""
