"""Commands that move all objects between the store of one machine and a cluster."""
