"""Run one attack until killed: `python -m tests.support.attacks.run NAME HOST PORT`.

The token, where there is one, is in ATTACK_TOKEN. Attackers have machines of their own, and take no
processor time from the server: here they have the lowest priority, unless ATTACK_NICE says how much
lower than the server's it is.
"""

import asyncio
import os
import sys

from tests.support.attacks.all_attacks import ALL_ATTACKS
from tests.support.attacks.attacks import Target

from upwell.machine.descriptors import raise_descriptor_limit

LOWEST = 19


def main() -> None:
    name, host, port = sys.argv[1:]
    raise_descriptor_limit()
    os.nice(int(os.environ.get("ATTACK_NICE", LOWEST)))
    asyncio.run(ALL_ATTACKS[name](Target(host, int(port), os.environ.get("ATTACK_TOKEN", ""))))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
