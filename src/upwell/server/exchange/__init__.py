"""Exchange of tokens of CIs for those of ServiceAccounts (RFC 8693)."""
