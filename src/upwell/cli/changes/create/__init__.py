"""`upwell create`: objects from manifests, or from arguments, by kind."""
