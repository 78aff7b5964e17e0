"""Commits of the repositories that BuildConfigs build."""
