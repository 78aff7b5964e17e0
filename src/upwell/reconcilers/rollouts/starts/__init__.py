"""Conditions of an instance's start, looked at."""
