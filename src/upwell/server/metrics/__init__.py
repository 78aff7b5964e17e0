"""Metrics and health: what is counted, what is so right now, liveness, readiness."""
