"""Commands that change parts of objects: set, label, annotate, patch, scale, edit, expose."""
