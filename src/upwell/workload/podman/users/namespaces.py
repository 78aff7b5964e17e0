"""User namespaces with given ids, as descriptors: mounts take their mapping from one."""

import errno
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from upwell.workload.podman.users.ids import OwnIds

_SECONDS = 20.0
_MAX_ERROR_BYTES = 4096
MAY_PASS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    *(errno.EIO, errno.EROFS, errno.ETIMEDOUT),
)
"""Lack of room, of time or of a sound disk: nothing that says what this machine can do."""


@contextmanager
def user_namespace(ids: OwnIds) -> Iterator[int]:
    """Keep a user namespace with these ids while the block lasts; yield its descriptor.

    A process of several threads, such as this one, cannot make one itself: a child does, whose maps
    are written from here. Raises OSError.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        raise FileNotFoundError(errno.ENOENT, "unshare is not installed: apt install util-linux")
    child = subprocess.Popen(
        [unshare, "--user", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
    )
    try:
        _wait_for_it(child)
        lines = "".join(f"{one.inside} {one.outside} {one.count}\n" for one in ids.ranges)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child.pid}/{name}").write_text(lines)
        namespace = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        child.kill()
        child.communicate()
    try:
        yield namespace
    finally:
        os.close(namespace)


def mapped_ids(proc: Path = Path("/proc")) -> frozenset[int]:
    """Return the first ids of the host that processes of this machine have as ranges of their own.

    Those of another Upwell, too, whose records are not ours to read. Blocks for some milliseconds.
    """
    found = set()
    for map_file in proc.glob("[0-9]*/uid_map"):
        with suppress(OSError):  # it has ended meanwhile
            found |= {int(line.split()[1]) for line in map_file.read_text().splitlines()}
    return frozenset(found)


def _wait_for_it(child: subprocess.Popen[bytes]) -> None:
    """Wait until the child is in its namespace: then it answers. Raises OSError."""
    given, answers = cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)
    with suppress(BrokenPipeError):
        given.write(b"\n")
        given.flush()
    ready = select.poll()
    ready.register(answers, select.POLLIN)
    if not ready.poll(_SECONDS * 1000):
        raise TimeoutError(errno.ETIMEDOUT, f"no user namespace within {_SECONDS:.0f} s")
    if not os.read(answers.fileno(), 1):
        said = cast("IO[bytes]", child.stderr).read(_MAX_ERROR_BYTES).decode(errors="replace")
        raise refusal(said, child.wait(_SECONDS))


def refusal(said: str, code: int = 1) -> OSError:
    """Return what unshare(1) or mount(8) said as an error: what may pass has the number of that.

    `code` is with what it ended, a negative number for a signal.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if code == -signal.SIGKILL:  # which a lack of memory sends, and no refusal
        return OSError(errno.EAGAIN, "the program that tries it was killed")
    text = lines[-1] if lines else "no user namespace can be made"
    number = next((one for one in MAY_PASS if os.strerror(one).lower() in said.lower()), None)
    return PermissionError(errno.EPERM, text) if number is None else OSError(number, text)
