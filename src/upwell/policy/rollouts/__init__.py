"""Rollouts: steps, settings, revisions, image change triggers, hooks."""
