"""Build strategies: Docker, Source-to-Image (scripts, artifacts of incremental builds), Custom."""
