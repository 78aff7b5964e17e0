"""Shares of the processors for attackers and for who is attacked, beside whatever else runs."""

from contextlib import suppress
from pathlib import Path


def set_group_niceness(pid: int, niceness: int) -> None:
    """Set what a session of processes takes beside others, from -20 (most) to 19 (least).

    Linux gives each session the same share of the processors, whatever the priorities of its
    processes, unless it is without autogroups (sched(7)); less than 0 is for root.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
