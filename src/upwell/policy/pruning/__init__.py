"""Retention by reachability: what is kept, and what may be removed."""
