"""The key by which this server signs the images that it builds."""
