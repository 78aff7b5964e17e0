"""The API below /api and /apis: who answers which request, by subject."""
