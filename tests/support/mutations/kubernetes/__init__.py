"""Verdicts of a real Kubernetes API server about every mutant, recorded, and where we differ.

`verdicts` reads the recording, `differences` has the deliberate ones, `apiserver` asks a server.
`python -m tests.support.mutations.kubernetes.apiserver URL TOKEN CA` records anew.
"""
