"""Commands that make a machine a server, and take that back."""
