"""Rollouts: steps, settings, revisions, image change triggers, hooks, people's commands."""
