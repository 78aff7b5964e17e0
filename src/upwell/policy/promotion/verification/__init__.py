"""Verification of a stage: checks, their Jobs and requests, reports, metrics and verdicts; pure."""
