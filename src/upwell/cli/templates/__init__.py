"""The command `process`, and Templates with their parameters."""
