"""Attacks on a server of its own, at once, beside the demo's story: `make attacks MINUTES=10`."""
# ruff: noqa: T201

import argparse
import asyncio
import sys

from tests.support.attacks.all_attacks import ALL_ATTACKS
from tests.support.attacks.attacks import ATTACKS, Target
from tests.support.attacks.bare_server import bare_server
from tests.support.attacks.measurement import attacked, attacker_of
from tests.support.attacks.story import HOSTS, Story
from tests.support.attacks.streams import STREAM_ATTACKS, begin_talker
from tests.support.installation.installation import installation
from tests.support.installation.promoted_installation import PromotedInstallation
from tests.support.installation.traffic import traffic


async def run(minutes: float, names: list[str], most_mib: float, most_ms: float) -> int:
    """Attack, report, and return the exit code: 1 beyond a limit, or where anything failed."""
    async with installation("--log-level", "warning") as made, made.client() as client:
        target = attacker_of(made)
        await begin_talker(made)
        story = Story(PromotedInstallation(made, client))
        await story.prepare()
        unfinished = ""
        async with (
            traffic(made.router_port, HOSTS) as seen,
            attacked(target, made.pid, names) as found,
        ):
            try:
                await story.tell(minutes * 60)
            except AssertionError as error:
                unfinished = "\n".join([str(error), *getattr(error, "__notes__", ())])
        lost = [failure for one in seen.values() for failure in one.failures]
        asked = sum(one.answers.total() for one in seen.values())
        print(f"{', '.join(names)}: {found}")
        print(f"{story}; {asked} requests to applications, {len(lost)} failed")
        faults = [*found.excesses(most_mib, most_ms), *found.failures, *lost]
        if unfinished:
            faults.insert(0, unfinished)
        for fault in faults[:20]:
            print(f"  {fault}")
        return int(bool(faults))


async def run_alone(seconds: float, names: list[str], most_mib: float, most_ms: float) -> int:
    """Attack a server that does nothing else in each way by itself, one after the other.

    Each has a server of its own. Returns the exit code, as `run` does.
    """
    faulty = 0
    for name in names:
        async with installation("--log-level", "warning") as made:
            target = attacker_of(made)
            if name in STREAM_ATTACKS:
                await begin_talker(made)
            async with attacked(target, made.pid, [name]) as found:
                await asyncio.sleep(seconds)
            faults = [*found.excesses(most_mib, most_ms), *found.failures]
            print(f"{name}: {found}", *faults[:5], sep="\n  ", flush=True)
            faulty += bool(faults)
    return int(bool(faulty))


async def run_bare(minutes: float, names: list[str]) -> int:
    """Attack a bare server instead, and report; returns the exit code."""
    async with bare_server() as (port, pid):
        target = Target("127.0.0.1", port, "none")
        async with attacked(target, pid, names) as found:
            await asyncio.sleep(minutes * 60)
    print(f"a bare server: {', '.join(names)}: {found}")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", action="append", choices=sorted(ALL_ATTACKS), default=[])
    parser.add_argument("--mib", type=float, default=64, help="memory above idle that is allowed")
    parser.add_argument("--ms", type=float, default=250, help="99th percentile that is allowed")
    parser.add_argument("--bare", action="store_true", help="attack a bare server, to compare")
    parser.add_argument("--alone", action="store_true", help="one after the other, and no story")
    wanted = parser.parse_args()
    names = wanted.only or list(ATTACKS if wanted.bare else ALL_ATTACKS)
    if wanted.bare:
        sys.exit(asyncio.run(run_bare(wanted.minutes, names)))
    if wanted.alone:
        alone = run_alone(wanted.minutes * 60, names, wanted.mib, wanted.ms)
        sys.exit(asyncio.run(alone))
    sys.exit(asyncio.run(run(wanted.minutes, names, wanted.mib, wanted.ms)))


if __name__ == "__main__":
    main()
