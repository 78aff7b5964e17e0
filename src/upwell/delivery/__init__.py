"""Deliveries to the outside: an outbox that outlives the process, and ways to send.

Never decides what is sent to whom, nor how often a delivery is tried.
"""
