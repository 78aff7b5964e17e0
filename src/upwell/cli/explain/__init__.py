"""Commands that explain: status, explain, build-chain."""
