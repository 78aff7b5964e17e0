"""Names of Services in the instances' /etc/hosts.

One file for each instance, mounted into all of its containers. It is changed in place, so that
what runs sees a new Service at once, and it stays when nothing of ours runs. A DNS server would
need a process that outlives us, and a way to tell the namespaces apart.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from upwell.workload.interface import InstanceSpec, ServiceName

_FILE = "hosts"
_NAMESPACE = "namespace"
_HEAD = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
_OWN_ADDRESS = "127.0.1.1"
_DOMAIN = "svc.cluster.local"


class HostsFiles:
    """The files of all instances below one folder, each in the folder of its instance."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: Sequence[ServiceName] | None = None

    def path(self, instance: str) -> Path:
        """Return the file of an instance."""
        return self._root / instance / _FILE

    def create(self, spec: InstanceSpec) -> None:
        """Write the file of an instance that is about to be started; its folder exists."""
        folder = self._root / spec.name
        (folder / _NAMESPACE).write_text(f"{spec.owner.namespace}\n{spec.hostname or spec.name}\n")
        path = folder / _FILE
        path.touch(mode=0o644)
        path.chmod(0o644)
        self._write(folder, self._known() if self._names is None else self._names)

    def publish(self, names: Sequence[ServiceName]) -> None:
        """Write these names, and no others, into every file that says something else."""
        if names == self._names:
            return
        self._names = tuple(names)
        for path in self._root.glob(f"*/{_FILE}"):
            self._write(path.parent, names)

    def _known(self) -> Sequence[ServiceName]:
        """Return what a process before this one has published: the files still say it.

        What is started before the first `publish` finds its Services too.
        """
        lines = {line for path in self._root.glob(f"*/{_FILE}") for line in _lines(path)}
        return [name for line in lines if (name := _parsed(line)) is not None]

    def _write(self, folder: Path, names: Sequence[ServiceName]) -> None:
        namespace, hostname = (folder / _NAMESPACE).read_text().splitlines()
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
    address, *aliases = line.split()
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
