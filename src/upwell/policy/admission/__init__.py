"""Admission: what keeps an object from being stored."""
