"""Commands on workloads: rollout, logs, exec, port-forward."""
