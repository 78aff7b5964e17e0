"""Task of workers that does what it is told, good and bad."""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from upwell.workers.fork_server import BOOTSTRAP
from upwell.workers.interface import MIB, WorkerLimits
from upwell.workers.runner import run_worker

TASK = """
import os, signal, socket, sys, time

def run(source, argument):
    return globals()[argument["what"]](source, argument)

def echo(source, argument):
    return [source.read().decode(), argument]

def memory(source, argument):
    return len(b"x" * 2**30)

def computing(source, argument):
    while True:
        pass

def forking(source, argument):
    if os.fork() == 0:
        time.sleep(600)

def escaping(source, argument):
    # Twice, in sessions of their own: nothing leads from it to those that stay, one below another.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.write(1, str(os.getpid()).encode())
            if os.fork() == 0:
                os.setsid()
            time.sleep(600)
        os._exit(0)
    os.wait()
    os._exit(0)

def remembering(source, argument):
    return globals().setdefault("told", argument["word"])

def segfault(source, argument):
    os.kill(os.getpid(), signal.SIGSEGV)

def opened(source, argument):
    found = []
    for number in range(100):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found

def parents(source, argument):
    return os.getppid()

def sleeping(source, argument):
    time.sleep(600)

def dying(source, argument):
    os.kill(os.getpid(), signal.SIGKILL)

def leaving(source, argument):
    os._exit(3)

def talking(source, argument):
    return "x" * 10_000_000

def counting(source, argument):
    return [[] for _ in range(argument.get("times", 70_000))]

def refusing(source, argument):
    raise ValueError("no such thing")

def broken(source, argument):
    return {}["missing"]

def full(source, argument):
    raise OSError(28, "No space left on device")

def content(source, argument):
    return source.read() * argument["times"]

def lying(source, argument):
    os.write(1, b'{"content": 3, "gaps": []}\\nab')
    os._exit(0)

def network(source, argument):
    # Bytes: there is no codec of names any more.
    socket.socket().connect((argument["host"].encode(), argument["port"]))

def reading(source, argument):
    return open(argument["path"]).read()

def writing(source, argument):
    with open(argument["path"], "w") as file:
        file.write("x")

def users(source, argument):
    return [os.getresuid(), os.getgroups()]

def descriptors(source, argument):
    kept = []
    while True:
        kept.append(os.dup(0))
"""
LIMITS = WorkerLimits(memory_bytes=256 * MIB, cpu_seconds=2, wall_seconds=60)


def with_task(folder: Path) -> str:
    """Return the start of a fork server that finds the task, which is written into a folder."""
    folder.mkdir()
    (folder / "a_task.py").write_text(TASK)
    return f"import sys; sys.path.append({str(folder)!r})\n{BOOTSTRAP}"


async def work(source: IO[bytes], what: str, folder: Path | None = None, **argument: Any) -> Any:
    return await run_worker("a_task", source, {"what": what, **argument}, LIMITS, folder)


def grandchildren() -> set[str]:
    """Return the workers: children of a fork server, which is our child."""
    found = set()
    for child in _children(os.getpid()):
        found |= _children(child)
    return found


def _children(pid: int | str) -> set[str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return set()
