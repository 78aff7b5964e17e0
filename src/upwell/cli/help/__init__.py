"""Help: `upwell help`, the pages of docs/ by topic, options of every command, manual pages."""
