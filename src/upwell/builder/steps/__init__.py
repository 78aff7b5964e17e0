"""Steps that builds find again: the marks that part them, and the store that holds nothing else."""
