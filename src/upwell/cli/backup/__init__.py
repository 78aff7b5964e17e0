"""Commands that back up the data folder of this machine's server, and restore it."""
