"""Faults of a real Podman, done by hand."""

import contextlib
import json
import sqlite3
from pathlib import Path

from tests.support.workload.podman_home import PodmanHome

from upwell.workload.podman.runtime import PodmanSettings


def service_of(settings: PodmanSettings) -> int:
    """Return the process that serves the API of these settings."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"service" in words and f"unix://{settings.data_dir}/".encode() in b" ".join(words):
                return int(entry.parent.name)
    return 0


def monitors_of(settings: PodmanSettings) -> list[int]:
    """Return the monitors (conmon) of the containers of these settings."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes()
            if (
                b"conmon" in line.split(b"\0")[0]
                and f"upwell-{settings.instance_id}.".encode() in line
            ):
                found.append(int(entry.parent.name))
    return found


def lose_layer(home: PodmanHome, container: str) -> None:
    """Damage the storage of a container as a removal does that is cut short."""
    container_id = home.run("inspect", "--format={{.Id}}", container).strip()
    storage = home.root / "storage"
    known = [
        entry
        for path in storage.glob("*-containers/*containers.json")
        for entry in json.loads(path.read_text())
    ]
    layer = next(entry["layer"] for entry in known if entry["id"] == container_id)
    for path in storage.glob("*-layers/*layers.json"):
        rest = [entry for entry in json.loads(path.read_text()) if entry["id"] != layer]
        path.write_text(json.dumps(rest))


def lose_record(home: PodmanHome, container: str) -> None:
    """Let Podman not know a container whose storage is there: it was killed in between."""
    container_id = home.run("inspect", "--format={{.Id}}", container).strip()
    with contextlib.closing(sqlite3.connect(home.root / "storage" / "db.sql")) as db:
        for table, column in (
            ("ContainerState", "ID"),
            ("ContainerVolume", "ContainerID"),
            ("ContainerConfig", "ID"),
            ("IDNamespace", "ID"),
        ):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (container_id,))  # noqa: S608
        db.commit()
