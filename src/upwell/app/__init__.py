"""The composition root: the only package that names adapters.

`client` is all that most commands need, and quick to import; `server` loads everything.
"""
