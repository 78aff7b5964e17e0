"""Signals that end a command as Ctrl-C does, so that it cleans up first."""

import asyncio
import signal


def cancel_at_end() -> None:
    """Have SIGTERM, and the end of the terminal, cancel the task that runs."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)
