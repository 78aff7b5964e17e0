"""Composes what concerns issuers of tokens and the sign-in of people."""
