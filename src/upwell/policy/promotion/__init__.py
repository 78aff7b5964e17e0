"""Promotion: which Release goes into which stage and when, and what checks mean; pure."""
