"""Fields that only readers of Secrets read: declaration, placeholders, and the way back."""
