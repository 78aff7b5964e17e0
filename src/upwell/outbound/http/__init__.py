"""HTTP/1.1 of a client, for what is asked very often: kept connections, redirects, bounds.

It knows nothing of registries, and connects by a `Dialer` alone.
"""
