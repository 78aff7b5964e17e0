"""Source-to-Image: the contract of builder images, recipes, `.s2iignore`, allowed users."""
