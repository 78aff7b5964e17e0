"""Composes builds in Pods of a cluster: for the server that makes them, and inside of each."""
