"""Client of remote registries: requests, logins, tokens, pushes. Never retries."""
