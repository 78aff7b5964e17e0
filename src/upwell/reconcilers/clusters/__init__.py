"""Clusters: asks each whether it answers, and what it allows."""
