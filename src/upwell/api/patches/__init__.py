"""Changes to objects as clients send them: patches, and server-side apply."""
