"""Commands on builds: start-build, cancel-build, and what they upload."""
