"""Decision on a HAProxy that does or does not answer; pure."""

from collections.abc import Sequence
from enum import StrEnum

from upwell.router.haproxy.processes import HaproxyProcess

PATIENCE = 3
"""Questions in a row without an answer before a process that lives counts as hanging."""
PATIENCE_WHILE_LOADING = 8
"""The same while a configuration is loaded, in which HAProxy may be busy for seconds."""
PATIENCE_AT_WORK = 15
"""The same for one that runs or waits for a processor: on a busy machine an answer takes its time,
and the end of the router would be the end of all traffic."""


class Answer(StrEnum):
    """Outcome of a question on the control socket."""

    GOOD = "good"
    REFUSED = "refused"
    """Absence of a listener."""
    SILENT = "silent"
    """Listener that said nothing in time."""


class Remedy(StrEnum):
    """Action that brings the router back; the table is applied after each but the first two."""

    NOTHING = "nothing"
    WAIT = "wait"
    CONTINUE = "continue"
    """Wake what was stopped (SIGCONT): it has lost nothing."""
    START = "start"
    """Start one: none runs."""
    REPLACE = "replace"
    """Have another one take over, without losing a request: it serves but takes no commands."""
    KILL = "kill"
    """End it, as it hangs."""


def next_remedy(
    answer: Answer, processes: Sequence[HaproxyProcess], misses: int, *, loading: bool
) -> Remedy:
    """Decide after a question; `misses` counts those in a row without an answer, with this one.

    A slow machine is no fault: only what is certain is acted upon at once.
    """
    if answer is Answer.GOOD:
        return Remedy.NOTHING
    if not processes:
        return Remedy.WAIT if loading else Remedy.START
    patience = PATIENCE_WHILE_LOADING if loading else PATIENCE
    if any(one.at_work for one in processes):
        patience = PATIENCE_AT_WORK
    if any(one.stopped for one in processes):
        return Remedy.CONTINUE if misses <= patience else Remedy.KILL
    if misses < patience:
        return Remedy.WAIT
    return Remedy.REPLACE if answer is Answer.REFUSED else Remedy.KILL
