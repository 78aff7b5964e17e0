"""Runs reconcilers: a work queue with backoff, and the watches that feed it. Knows no kind."""

from upwell.controller.queue import Backoff, WorkQueue
from upwell.controller.runner import Controller, Reconciler, Result, Watch, same_key

__all__ = ["Backoff", "Controller", "Reconciler", "Result", "Watch", "WorkQueue", "same_key"]
