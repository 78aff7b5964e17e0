"""Run attacks until killed: `python -m tests.support.attacks.run HOST PORT NAME...`.

Each is a process of its own, forked from this one, which ends as soon as one of them does: what
they need is imported once. The token, where there is one, is in ATTACK_TOKEN. Attackers have
machines of their own, and take no processor time from the server: here they have the lowest
priority, unless ATTACK_NICE says how much lower than the server's it is.
"""

import asyncio
import os
import sys

from tests.support.attacks.all_attacks import ALL_ATTACKS
from tests.support.attacks.attacks import Target
from tests.support.attacks.priority import set_group_niceness

from upwell.machine.descriptors import raise_descriptor_limit

LOWEST = 19


def main() -> None:
    host, port, *names = sys.argv[1:]
    raise_descriptor_limit()
    lower = int(os.environ.get("ATTACK_NICE", LOWEST))
    os.nice(lower)
    set_group_niceness(os.getpid(), lower)
    target = Target(host, int(port), os.environ.get("ATTACK_TOKEN", ""))
    running = {}
    for name in names:
        if (pid := os.fork()) == 0:
            asyncio.run(ALL_ATTACKS[name](target))  # type: ignore[arg-type]
            return
        running[pid] = name
    ended, _ = os.wait()
    sys.exit(f"{running[ended]} ended by itself")


if __name__ == "__main__":
    main()
