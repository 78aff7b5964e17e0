"""Names of what the replicas of one server share on a cluster."""

KEYS_SECRET = "upwell-keys"  # noqa: S105 - a name, not a secret
"""Secret, in the namespace of the server, with the keys by which all replicas answer alike."""
