"""Decisions about BuildConfigs and Builds: triggers, run policy, identity, inputs."""
