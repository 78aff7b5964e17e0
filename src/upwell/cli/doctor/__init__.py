"""Command `doctor`: whether a machine, or a cluster, has what Upwell needs there."""
