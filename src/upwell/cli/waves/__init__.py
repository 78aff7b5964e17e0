"""Commands about changes of base images and all that they reach."""
