"""Admission: checks and completes objects that clients send, before they are stored."""
