"""Builds in Pods of a cluster: what a Pod is, what it is told, and what comes of it.

Knows no API client: a cluster is reached by the Protocol in `pods`.
"""
