"""Authentication, authorization, rate limits, tokens, and the audit log."""
