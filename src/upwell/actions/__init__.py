"""Actions of people and clients: one module for each subject, called by the API's handlers.

Reads the state, lets `policy` decide, writes; refusals are exceptions, and `server/http/errors`
alone makes HTTP of them. Knows no request, answer or token.
"""
