"""Traces of changes as spans (W3C Trace Context)."""
