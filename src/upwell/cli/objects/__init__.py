"""Commands on objects of every kind: apply, get, describe, delete, wait; and on projects."""
