"""Hostile bytes for as long as is wanted: `make fuzz MINUTES=10`.

Each parser in turn, in a process of its own with a ceiling of memory and a limit for each input,
guided by coverage (Atheris, libFuzzer). What goes wrong is kept, and the command that repeats it is
told.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS_OF_ONE_INPUT = 10
CEILING_MIB = 1024
LONGEST_INPUT = 64 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", action="append", help="parsers to fuzz; all of them if absent")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target:
        fuzz(options.target, options.rest)
    return fuzz_all(options.minutes, options.only)


def fuzz_all(minutes: float, only: list[str] | None) -> int:
    """Fuzz each parser for its share of the time; return how many have a fault."""
    from tests.support.fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented where it is run

    names = only or list(TARGETS)
    seconds = max(int(minutes * 60 / len(names)), 1)
    kept = Path(tempfile.gettempdir()) / "upwell-fuzz"
    faults = 0
    for name in names:
        folder = kept / name
        (folder / "corpus").mkdir(parents=True, exist_ok=True)
        for at, seed in enumerate(TARGETS[name].seeds):
            (folder / "corpus" / f"seed-{at}").write_bytes(seed)
        limits = [
            f"-max_total_time={seconds}",
            f"-timeout={SECONDS_OF_ONE_INPUT}",
            f"-rss_limit_mb={CEILING_MIB}",
            f"-max_len={LONGEST_INPUT}",
            f"-artifact_prefix={folder}/",
        ]
        again = [sys.executable, "-m", "tests.fuzz", "--target", name, "--"]
        done = subprocess.run([*again, *limits, str(folder / "corpus")], check=False)
        if done.returncode:
            faults += 1
            print(f"{name}: FAULT; repeat with: {' '.join(again)} {folder}/crash-…")  # noqa: T201
        else:
            print(f"{name}: nothing found in {seconds} s")  # noqa: T201
    return faults


def fuzz(name: str, rest: list[str]) -> None:
    """Fuzz one parser; libFuzzer ends the process."""
    import atheris  # type: ignore[import-untyped,import-not-found,unused-ignore]  # noqa: PLC0415 - `make fuzz` brings it

    with atheris.instrument_imports(include=["upwell", "tarfile", "zipfile"]):
        from tests.support.fuzz.targets import TARGETS  # noqa: PLC0415
    atheris.Setup([sys.argv[0], *rest], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
