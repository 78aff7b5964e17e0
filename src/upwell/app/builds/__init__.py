"""Composes builds: of this server, in Pods of a cluster, and inside each of those."""
