"""Rollouts by a cluster's own controllers: owners of images, what is set, what has failed."""
