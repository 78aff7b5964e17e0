"""Roles, what each allows, the rights that an object takes, and its author."""
