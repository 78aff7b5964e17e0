"""Decisions of `upwell setup`: the steps that a machine needs, and the unit of the service."""
