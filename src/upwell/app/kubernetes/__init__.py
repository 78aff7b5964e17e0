"""Adapters of a cluster: the store behind its API, and the leader among replicas."""
