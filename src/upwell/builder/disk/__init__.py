"""Content of builds on the disk: room of those that run, caches and images that stay, pruning."""
