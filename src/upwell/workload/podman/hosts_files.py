"""Names of Services in the instances' /etc/hosts.

One file for each instance, mounted into all of its containers. It is changed in place, so that
what runs sees a new Service at once, and it stays when nothing of ours runs. A DNS server would
need a process that outlives us, and a way to tell the namespaces apart.
"""

import contextlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from upwell.machine.private_file import write_private
from upwell.workload.instance_spec import InstanceSpec
from upwell.workload.interface import ServiceName

_FILE = "hosts"
_NAMESPACE = "namespace"
_HEAD = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_OWN_ADDRESS = "127.0.1.1"
_DOMAIN = "svc.cluster.local"


class HostsFiles:
    """The files of all instances below one folder, each in the folder of its instance.

    Called by several threads. An instance's folder may go at any moment.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: Sequence[ServiceName] | None = None
        """Names that every file says; None when that is not known."""
        self._writing = threading.Lock()
        """Guards the names and all files: what is created meanwhile would miss a publication."""

    def path(self, instance: str) -> Path:
        """Return the file of an instance."""
        return self._root / instance / _FILE

    def create(self, spec: InstanceSpec) -> None:
        """Write the file of an instance that is about to be started; its folder exists."""
        folder = self._root / spec.name
        with self._writing:
            place = f"{spec.owner.namespace}\n{spec.hostname or spec.name}\n"
            write_private(folder / _NAMESPACE, place, synced=False)
            path = folder / _FILE
            path.touch(mode=0o644)
            path.chmod(0o644)
            self._write(folder, self._known() if self._names is None else self._names)

    def publish(self, names: Sequence[ServiceName]) -> None:
        """Write these names, and no others, into every file that says something else.

        Raises OSError: then they are written by the next call.
        """
        wanted = tuple(names)
        with self._writing:
            if wanted == self._names:
                return
            self._names = None
            for path in self._root.glob(f"*/{_FILE}"):
                with contextlib.suppress(FileNotFoundError):  # its instance is being removed
                    self._write(path.parent, wanted)
            self._names = wanted

    def _known(self) -> Sequence[ServiceName]:
        """Return what a process before this one has published: the files still say it.

        What is started before the first `publish` finds its Services too.
        """
        lines = {line for path in self._root.glob(f"*/{_FILE}") for line in _lines(path)}
        return [name for line in lines if (name := _parsed(line)) is not None]

    def _write(self, folder: Path, names: Sequence[ServiceName]) -> None:
        lines = (folder / _NAMESPACE).read_text().splitlines()
        # A crash may have left the file short: then there are no short names until the next start.
        namespace = lines[0] if lines else ""
        hostname = lines[1] if len(lines) > 1 else folder.name
        text = f"{_HEAD}{_OWN_ADDRESS} {hostname}\n{render(names, namespace)}".encode()
        # In place: a new file would not be the one that is mounted. One write is seen as a whole.
        handle = os.open(folder / _FILE, os.O_WRONLY)
        try:
            os.pwrite(handle, text, 0)
            os.ftruncate(handle, len(text))
        finally:
            os.close(handle)


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return ()  # its instance has just been removed


def _parsed(line: str) -> ServiceName | None:
    """Return the Service of a line that `render` has made; None for any other."""
    address, *aliases = line.split() or [""]
    suffix = f".{_DOMAIN}"
    full = next((one.removesuffix(suffix) for one in aliases if one.endswith(suffix)), "")
    name, found, namespace = full.partition(".")
    return ServiceName(namespace, name, address) if found else None


def render(names: Sequence[ServiceName], namespace: str) -> str:
    """Return the lines for instances of `namespace`: short names are those of its own Services."""
    lines = []
    for one in sorted(names):
        full = f"{one.name}.{one.namespace}"
        aliases = [full, f"{full}.svc", f"{full}.{_DOMAIN}"]
        if one.namespace == namespace:
            aliases.insert(0, one.name)
        lines.append(f"{one.address} {' '.join(aliases)}\n")
    return "".join(lines)
