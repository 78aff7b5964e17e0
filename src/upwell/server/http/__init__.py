"""Requests and answers: bodies, queries, targets, selectors, pages, errors, tables."""
