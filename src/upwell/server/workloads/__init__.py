"""Workloads over the API: Pods, ReplicaSets, logs, exec, port-forward."""
