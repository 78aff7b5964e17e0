"""Traces: spans of what has ended, sent to where they are kept. Decides nothing about them."""
