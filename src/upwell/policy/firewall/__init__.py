"""Decisions on what instances may connect to: namespaces, and NetworkPolicies."""
