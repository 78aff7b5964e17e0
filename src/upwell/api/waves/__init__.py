"""The kind Wave: changes of base images, and what follows."""
