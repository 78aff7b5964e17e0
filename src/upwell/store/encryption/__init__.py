"""Envelope encryption of what a store keeps on disk: keys, envelopes, a database's keyring."""
