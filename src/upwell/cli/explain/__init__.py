"""Commands on the graph of objects: status, explain, build-chain."""
