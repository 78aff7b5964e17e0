"""A registry elsewhere that builds push to: its tags, and the images that builds take."""
