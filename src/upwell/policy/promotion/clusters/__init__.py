"""Stages on clusters: which they mean, in which order each gets a Release, and how all stand."""
