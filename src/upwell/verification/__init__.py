"""Asks what runs in a stage, and those who know of it: HTTP, TCP, metrics, and a CI's webhook.

Every question is asked once, with a limit on time and size; what the answers mean, `policy` says.
"""
