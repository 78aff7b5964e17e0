"""The worker's own process: give up what the task does not need, run it, answer.

Forked with the standard library alone, and what is installed beside the package that the task
names. The order counts: what is imported before the confinement is of this installation; the input
is opened before and read after.
"""

import ctypes
import errno
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

NOBODY = 65534
_MAX_FILES = 32
_NICE = 5
_EMPTY_FOLDER = "/proc/self/fdinfo"
"""A folder in which nothing can be made, and which goes with the process."""
_KILL, _PDEATHSIG, _NO_NEW_PRIVS = 9, 1, 38  # prctl(2)
_CAPABILITIES_V3 = 0x20080522  # capset(2)
_MAX_MESSAGE = 1000

_UNKNOWN_HERE = {errno.EPERM, errno.ENOSYS, errno.EINVAL}
"""Errors of unshare(2) in a container without CAP_SYS_ADMIN, and of a kernel without namespaces."""


class _UnconfinedError(Exception):
    """Right that a worker keeps and must not have; it parses nothing."""


type Task = Callable[[IO[bytes], Any], Any]


def run_job(task: str, settings: Mapping[str, Any]) -> None:
    """Run an imported task on standard input, and write its answer to standard output.

    The answer is JSON. Content, which a task returns as bytes, follows the line that announces it.
    """
    run: Task = sys.modules[task].run
    with open(0, "rb") as source, open(1, "wb", buffering=0) as target:
        try:
            gaps = confine(settings)
        except _UnconfinedError as error:
            found: Mapping[str, Any] = {"unconfined": str(error)}
        else:
            found = {**answer(run, source, settings["argument"]), "gaps": gaps}
        content = found.get("result")
        if isinstance(content, bytes):
            target.write(json.dumps({"content": len(content), "gaps": gaps}).encode() + b"\n")
            target.write(content)
        else:
            target.write(json.dumps(found).encode())


def answer(run: Task, source: IO[bytes], argument: object) -> Mapping[str, Any]:
    """Return what a task made of its input, or why it made nothing."""
    try:
        return {"result": run(source, argument)}
    except MemoryError:
        return {"excess": "memory"}
    except OSError as error:
        # `or`: such as gzip's BadGzipFile, which is an OSError without a number.
        number = {"errno": error.errno} if error.errno else {}
        return {"refused": str(error.strerror or error)[:_MAX_MESSAGE], **number}
    except (ValueError, EOFError, RecursionError) as error:
        return {"refused": str(error)[:_MAX_MESSAGE]}
    except Exception as error:  # noqa: BLE001 - parsers raise anything on what nobody foresaw
        return {"refused": f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]}


def confine(settings: Mapping[str, Any]) -> list[str]:
    """Give up what the task does not need; return what root kept, as this machine cannot take it.

    Limits hold everywhere. As root, the network and the file system go too, and so does root itself
    unless the task writes files for us; then without any capability. Raises _UnconfinedError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    os.nice(_NICE)
    folder = settings["folder"]
    is_root = os.geteuid() == 0
    gaps = _leave_network(is_root=is_root)
    os.chdir(folder or _EMPTY_FOLDER)
    if is_root:
        _leave_files()
        if not folder:
            gaps += _leave_root()
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) and is_root:
        raise _UnconfinedError(f"it cannot give up its capabilities: errno {ctypes.get_errno()}")
    libc.prctl(_PDEATHSIG, *map(ctypes.c_ulong, (_KILL, 0, 0, 0)))  # a change of user clears it
    if os.getppid() != settings["parent"]:  # it died before
        raise _UnconfinedError("the process that watches it has ended")
    _set_limits(settings, writes=bool(folder))
    return gaps


def _leave_network(*, is_root: bool) -> list[str]:
    try:
        os.unshare(os.CLONE_NEWNET | os.CLONE_NEWIPC)
    except OSError as error:
        if not is_root:
            return []
        if error.errno not in _UNKNOWN_HERE:
            raise _UnconfinedError(f"it cannot leave the network: {error.strerror}") from error
        return ["network"]
    return []


def _leave_files() -> None:
    try:
        os.chroot(".")
    except OSError as error:
        why = f"it cannot leave the file system: {error.strerror}: give the server CAP_SYS_CHROOT"
        raise _UnconfinedError(why) from error


def _leave_root() -> list[str]:
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        if error.errno == errno.EINVAL:  # there is no such user in this user namespace
            return ["root"]
        why = f"it cannot give up root: {error.strerror}: give the server CAP_SETUID and CAP_SETGID"
        raise _UnconfinedError(why) from error
    return []


def _set_limits(settings: Mapping[str, Any], *, writes: bool) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _MAX_FILES,
        resource.RLIMIT_CPU: settings["cpu"],
        resource.RLIMIT_AS: settings["memory"],
        resource.RLIMIT_NPROC: 0,
    }
    if not writes:
        limits[resource.RLIMIT_FSIZE] = 0
    for name, limit in limits.items():
        _, hard = resource.getrlimit(name)
        # Beyond the soft limit of computing time comes SIGXCPU, which tells why; then SIGKILL.
        most = limit + 1 if name == resource.RLIMIT_CPU else limit
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (min(limit, most), most))
    sys.setrecursionlimit(500)
