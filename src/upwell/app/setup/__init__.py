"""Composition of `upwell setup`: looks at the machine, and carries its steps out."""
