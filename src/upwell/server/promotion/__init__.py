"""Promotion over the API: requests, evidence, approvals, verdicts."""
