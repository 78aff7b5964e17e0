"""The objects that `new-app` makes of a repository or an image."""
