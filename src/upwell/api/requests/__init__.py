"""Requests that are created and answered, or views that are made for the answer: none is stored."""
