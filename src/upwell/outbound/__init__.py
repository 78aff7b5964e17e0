"""Requests to places that users name: one policy of addresses, and what connects by it.

A name is looked up once, each address is judged, and the connection is made to the address that
was judged. Knows no port: adapters say what an answer means to theirs.
"""
