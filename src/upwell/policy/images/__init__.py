"""ImageStreams: tag histories, imports and their schedule, selection of tags, image names."""
