"""Services and Routes: what a router can serve, and what it does not serve."""
