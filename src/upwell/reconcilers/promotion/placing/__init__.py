"""Places Releases: on the workloads of a stage, wherever these run, or in a git repository."""
