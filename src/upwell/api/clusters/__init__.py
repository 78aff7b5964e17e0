"""Clusters: places where stages may run, and which of them a stage means."""
