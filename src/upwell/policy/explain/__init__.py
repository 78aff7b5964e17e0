"""The graph from base images to workloads, and the facts that explain its state."""
