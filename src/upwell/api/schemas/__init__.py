"""Schemas of the kinds: CustomResourceDefinitions and OpenAPI."""
