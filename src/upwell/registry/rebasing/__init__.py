"""Reads what a rebase is about from registries, and writes its outcome: the tag last."""
