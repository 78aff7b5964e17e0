"""Commands that run on the machine itself: serve, doctor."""
