"""Pure decisions: what follows from objects and documents that were already read.

Nothing here reads a file, a clock or a network.
"""
