"""Commands that run on the machine itself: serve, audit, keys."""
