"""Subscriptions over the API: tests, dead letters, replays."""
