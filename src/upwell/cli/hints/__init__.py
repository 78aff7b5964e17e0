"""Hints beside an error: names that were probably meant, sections of the documentation."""
