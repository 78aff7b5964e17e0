"""Commands on images: import-image, image mirror, tag."""
