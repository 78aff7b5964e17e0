"""Composition of backups: what of a data folder belongs in one, and how one is put in place."""
