"""The command `new-app`."""
