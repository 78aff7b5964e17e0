"""Promotion: makes Releases, moves them from stage to stage, and verifies them there."""
