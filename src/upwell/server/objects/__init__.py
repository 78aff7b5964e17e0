"""Objects of every kind: reads, writes, watches, scale, discovery, reviews, templates."""
