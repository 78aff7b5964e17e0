"""The audit log: lines in a hash chain, signed heads, files, and their way to other machines.

Knows no request: the server says what is recorded, and refuses changes while nothing can be.
"""
