"""Git: how a repository is reached, hardened and with its login, and how its trees are fetched.

The client that `builder` and `gitops` share. Nothing of a repository is ever run.
"""
