"""Processor time of a process; of a command and all that it starts, also what outlives its parent.

python -m tests.support.benchmarks.processor_time COMMAND [ARGUMENT…]

runs a command as the parent of all that it leaves behind: `tree_seconds` of this process is the
time of the whole tree, of those that have ended too.
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2)."""
_TICKS = os.sysconf("SC_CLK_TCK")


def measured(*argv: str) -> tuple[str, ...]:
    """Return the command that runs `argv` so that nothing that it starts is lost."""
    return (sys.executable, "-S", __file__, *argv)


def process_seconds(pid: int) -> float:
    """Return the processor seconds of a process alone; see proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / _TICKS


def tree_seconds(pid: int) -> float:
    """Return the processor seconds of a process, of all below it, and of those that it waited for.

    0 if there is no such process; see proc_pid_stat(5).
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = [
            int(child)
            for one in Path(f"/proc/{pid}/task").glob("*/children")
            for child in one.read_text().split()
        ]
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS + sum(map(tree_seconds, children))


def listener(port: int) -> int:
    """Return the process that serves a port of TCP."""
    argv = ("lsof", "-t", "-sTCP:LISTEN", f"-iTCP:{port}")
    return int(subprocess.run(argv, check=True, capture_output=True, timeout=30).stdout)


def _main(argv: list[str]) -> int:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    child = os.posix_spawnp(argv[0], argv, os.environ)

    def pass_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
