"""Traces: exports the spans of changes."""
