"""Decoding of wire data by models: what is wrong with it, and what it says beside that."""
