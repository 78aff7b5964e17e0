"""Tokens of ServiceAccounts in instances: files in memory, made anew before they end."""
