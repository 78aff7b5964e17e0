"""Workloads of a cluster: sets the images of those that follow tags, judges their rollouts.

The cluster's own controllers roll out; here nothing starts or stops a Pod.
"""
