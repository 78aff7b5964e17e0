"""Requests from head to answer: what is asked for, rights and rates, turns, and the audit log."""
