"""Roles, what each allows, and reading ImageStreams across namespaces."""
