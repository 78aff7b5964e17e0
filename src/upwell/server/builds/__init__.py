"""Builds over the API: instantiate, logs, binary uploads, git webhooks."""
