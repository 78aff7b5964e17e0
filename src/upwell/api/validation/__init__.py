"""Validation: faults of objects, each with its path, beyond what the types say."""
