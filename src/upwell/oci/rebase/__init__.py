"""Swap of the base layers of an image: bases found, configuration merged, documents made anew.

Pure. Never says whether a swap is safe (`policy/rebase` does), and reads nothing.
"""
