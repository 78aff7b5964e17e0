"""The key that signs images: its public half for everybody, its rotation for administrators."""
