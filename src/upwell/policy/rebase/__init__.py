"""Safety of a rebase: may the base's layers be swapped below an image's own, and if not, why."""
