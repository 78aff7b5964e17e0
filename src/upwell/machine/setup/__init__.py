"""Setting up of a machine: the packages that a server takes."""
