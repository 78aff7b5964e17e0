"""A Compose file with every key that is read, and what Docker Compose says of its mutants."""
