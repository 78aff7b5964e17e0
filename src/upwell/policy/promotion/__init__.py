"""Promotion: which Release goes into which stage and when, and what a check's results mean; pure."""
