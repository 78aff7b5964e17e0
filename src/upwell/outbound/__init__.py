"""Requests to addresses that users name: the guard against internal ones, and signed events.

Knows no port: the adapters of `delivery` and `verification` say what an answer means to theirs.
"""
