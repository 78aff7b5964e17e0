"""Random faults under load, for as long as is wanted: `make soak MINUTES=60`.

Each round publishes a version, good or bad, lets one or two faults happen at a random moment, and
waits until the loop stands still. The report says what was tried, what was not right, how long the
loop took, and what has grown.
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.faults.faulty_loop import FaultyLoop, faulty_loop
from tests.support.faults.machine_faults import FAULTS, InflictedFault
from tests.support.installation.installation import Installation

DISK_MEGABYTES = 2048
LONGEST_DELAY_SECONDS = 8.0
"""Latest moment of a fault after its version was published: the loop takes about that long."""
BAD_SHARE = 0.3
TWO_FAULTS_SHARE = 0.25
EARLY_SHARE = 0.3
"""Of the rounds in which the fault is there before the version is published."""


@dataclass
class Resources:
    """Memory and files of a server: growth over an hour is a leak."""

    memory_mib: float
    descriptors: int
    threads: int
    mounts: int
    database_mib: float

    @classmethod
    def of(cls, made: Installation) -> "Resources":
        """Read them from /proc and the data folder."""
        folder = Path(f"/proc/{made.pid}")
        status = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
        return cls(
            memory_mib=int(status["VmRSS"].split()[0]) / 1024,
            descriptors=len(list((folder / "fd").iterdir())),
            threads=int(status["Threads"]),
            mounts=len((folder / "mountinfo").read_text().splitlines()),
            database_mib=sum(one.stat().st_size for one in made.data_dir.glob("upwell.db*"))
            / 2**20,
        )

    def __str__(self) -> str:
        return (
            f"{self.memory_mib:.0f} MiB, {self.descriptors} descriptors, {self.threads} threads,"
            f" {self.mounts} mounts, database {self.database_mib:.1f} MiB"
        )


@dataclass
class SoakReport:
    """Faults that a run has inflicted, and its findings."""

    seed: int
    began: float = field(default_factory=time.monotonic)
    tried: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lost: Counter[str] = field(default_factory=Counter)
    """Requests that failed in rounds with this fault."""
    problems: list[str] = field(default_factory=list)
    resources: list[Resources] = field(default_factory=list)
    answered: int = 0
    failed: int = 0

    def text(self) -> str:
        """Return the report as Markdown."""
        minutes = (time.monotonic() - self.began) / 60
        requests = f"{self.answered} requests answered, {self.failed} failed"
        lines = [
            f"# Soak: {minutes:.0f} minutes, {sum(self.tried.values())} faults, seed {self.seed}",
            "",
            f"{requests}; {len(self.problems)} problems.",
            "",
            "| fault | times | until the loop stood still: median, longest (s) | requests failed |",
            "| --- | --- | --- | --- |",
        ]
        for name, count in sorted(self.tried.items()):
            times = self.seconds[name] or [float("nan")]
            spread = f"{statistics.median(times):.1f}, {max(times):.1f}"
            lines.append(f"| {name} | {count} | {spread} | {self.lost[name]} |")
        if self.resources:
            lines += ["", f"Server at first: {self.resources[0]}", ""]
            lines += [f"Server at last: {self.resources[-1]}", ""]
        lines += [f"- {problem}" for problem in self.problems]
        return "\n".join(lines) + "\n"


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def inflict(loop: FaultyLoop, fault: InflictedFault, publish: str = "") -> None:
    """Let a fault happen, last and end; a version of the quality `publish` comes meanwhile."""
    await fault.inflict(loop)
    if publish:
        await loop.publish(publish)
    await asyncio.sleep(fault.seconds)
    if fault.heal is not None:
        await fault.heal(loop)


async def run_round(
    loop: FaultyLoop, faults: Sequence[InflictedFault], chance: random.Random
) -> None:
    """Publish, inflict, wait until all is well; raises AssertionError."""
    before = Counter(loop.failures())
    is_bad = chance.random() < BAD_SHARE
    quality = "bad" if is_bad else "good"
    later = list(faults)
    if chance.random() < EARLY_SHARE:
        await inflict(loop, later.pop(0), quality)
    else:
        await loop.publish(quality)
    for fault in later:
        await asyncio.sleep(chance.uniform(0, LONGEST_DELAY_SECONDS / len(later)))
        await inflict(loop, fault)
    if is_bad:
        await loop.rejected()
        await loop.publish("good")
    await loop.settled()
    lost = Counter(loop.failures()) - before
    if lost and not any(fault.interrupts for fault in faults):
        raise AssertionError(f"{lost.total()} requests failed: {dict(lost)}")


async def soak(minutes: float, seed: int, only: str) -> SoakReport:
    """Run rounds for so many minutes, and return what was found."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, no secret
    report = SoakReport(seed)
    faults = [fault for fault in FAULTS if only in str(fault)]

    async with faulty_loop(DISK_MEGABYTES) as loop:
        report.resources.append(Resources.of(loop.made))
        end = time.monotonic() + minutes * 60
        while time.monotonic() < end:
            count = 2 if chance.random() < TWO_FAULTS_SHARE else 1
            chosen = chance.sample(faults, min(count, len(faults)))
            await one_round(loop, chosen, chance, report)
        report.answered = sum(one.answers.total() for one in loop.seen.values())
        report.failed = len(loop.failures())
        report.resources.append(Resources.of(loop.made))
    return report


async def one_round(
    loop: FaultyLoop, chosen: Sequence[InflictedFault], chance: random.Random, report: SoakReport
) -> None:
    """Run a round and write down how it went; what was not right does not end the run."""
    name = " + ".join(str(fault) for fault in chosen)
    failures, began = len(loop.failures()), time.monotonic()
    problem = ""
    try:
        await run_round(loop, chosen, chance)
    except Exception as error:  # noqa: BLE001 - a command that hangs is a finding too
        notes = "\n".join(getattr(error, "__notes__", ()))
        problem = f"{name}, version {loop.versions[-1]}: {error!r:.500}\n{notes[:3000]}"
        report.problems.append(problem)
    took = time.monotonic() - began
    for fault in chosen:
        report.tried[str(fault)] += 1
        report.seconds[str(fault)].append(took)
        report.lost[str(fault)] += len(loop.failures()) - failures
    say(f"{took:6.1f} s  {name}  {problem or 'well'}")


def main() -> int:
    """Return 1 when anything was not right."""
    parser = argparse.ArgumentParser(description="Random faults under load.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--report", type=Path, default=Path("soak-report.md"))
    options = parser.parse_args()
    say(f"seed {options.seed}")
    report = asyncio.run(soak(options.minutes, options.seed, options.only))
    options.report.write_text(report.text())
    say(report.text())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
