"""Exchange of tokens of CIs (RFC 8693) and of logins of registry clients for others."""
