"""Conditions of an instance's start: what it has alone, and what runs before it; pure."""
