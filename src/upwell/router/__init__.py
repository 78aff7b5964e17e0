"""Sends requests to what runs: the port, and HAProxy behind it.

Never decides who gets a request: the routing policy does, and hands over the whole table.
"""
