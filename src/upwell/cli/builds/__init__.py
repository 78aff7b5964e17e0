"""Commands on builds: start-build, cancel-build, and their uploads."""
