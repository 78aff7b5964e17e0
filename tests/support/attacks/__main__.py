"""Attacks on a server of its own, all at once: `make attacks MINUTES=10`."""

import argparse
import asyncio
import sys

from tests.support.attacks.attacks import ATTACKS
from tests.support.attacks.measurement import attacked, attacker_of
from tests.support.installation.installation import installation


async def run(minutes: float, names: list[str], most_mib: float, most_ms: float) -> int:
    """Attack, report, and return the exit code: 1 beyond a limit, or where a request failed."""
    async with installation("--log-level", "warning") as made:
        target = attacker_of(made)
        async with attacked(target, made.pid, names) as found:
            await asyncio.sleep(minutes * 60)
        print(f"{', '.join(names)}: {found}")  # noqa: T201
        for failure in found.failures[:10]:
            print(f"  {failure}")  # noqa: T201
        for excess in found.excesses(most_mib, most_ms):
            print(f"  {excess}")  # noqa: T201
        return int(bool(found.excesses(most_mib, most_ms) or found.failures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", action="append", choices=sorted(ATTACKS), default=[])
    parser.add_argument("--mib", type=float, default=64, help="memory above idle that is allowed")
    parser.add_argument("--ms", type=float, default=250, help="99th percentile that is allowed")
    wanted = parser.parse_args()
    names = wanted.only or list(ATTACKS)
    sys.exit(asyncio.run(run(wanted.minutes, names, wanted.mib, wanted.ms)))


if __name__ == "__main__":
    main()
