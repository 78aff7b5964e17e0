"""Volumes that a workload writes: who may write when, and copies of them."""
