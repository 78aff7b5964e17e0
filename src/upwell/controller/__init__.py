"""Runs reconcilers: a work queue with backoff, fed from one cache of the store. Knows no kind."""

from upwell.controller.cache import CacheIndex, Handler, ObjectCache
from upwell.controller.queue import WorkQueue
from upwell.controller.runner import Controller, Reconciler, Result, Watch, of_both, same_key

__all__ = [
    "CacheIndex",
    "Controller",
    "Handler",
    "ObjectCache",
    "Reconciler",
    "Result",
    "Watch",
    "WorkQueue",
    "of_both",
    "same_key",
]
