"""Clusters: the rights that stages need there, and how each is said to stand. No I/O."""
