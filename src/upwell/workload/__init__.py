"""Runs containers and routes requests to them: the ports, and Podman and HAProxy behind them.

Never decides what should run: the rollout policy does, from what these adapters report.
"""
