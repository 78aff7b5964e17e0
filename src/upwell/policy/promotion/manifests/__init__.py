"""Sets images in the manifests of a git repository: one changed line for each, nothing else."""
