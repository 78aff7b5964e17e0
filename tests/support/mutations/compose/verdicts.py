"""Mutants of the Compose file, and those that Docker Compose refuses.

`python -m tests.support.mutations.compose.verdicts DOCKER-COMPOSE` records them anew, by the
program of Debian's package docker-compose, in some two minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from tests.support.mutations.mutants import Mutant, mutants, path_text

FOLDER = Path(__file__).parent
REFUSED = FOLDER / "refused.json"
ENVIRONMENT: Mapping[str, str] = {"LEVEL": "info", "COMPOSE_PROFILES": "prod"}
FILES = {"web.env": "A=1\n", "pw.txt": "geheim", "app/Dockerfile": "FROM scratch\n"}
"""Files beside the Compose file."""
_SECONDS = 60


def compose_document() -> dict[str, Any]:
    """Return the values of the file, of which nothing is refused."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return found


def compose_mutants() -> Iterator[tuple[str, Mutant]]:
    """Yield every mutant with its name: its place, its change, and its number among those."""
    document = compose_document()
    counts: dict[str, int] = {}
    for key in document:
        for one in mutants(document, (key,)):
            name = f"{path_text(one.path)} {one.change}"
            counts[name] = counts.get(name, 0) + 1
            yield f"{name} {counts[name]}", one


def _verdict(program: str, folder: Path, name: str, document: Mapping[str, Any]) -> str:
    """Return what Compose says of a document; empty where it takes it."""
    file = folder / f"{abs(hash(name))}.yaml"
    file.write_text(json.dumps(document))
    done = subprocess.run(
        [program, "-f", str(file), "config", "--quiet"],
        capture_output=True,
        check=False,
        env={**os.environ, **ENVIRONMENT},
        text=True,
        timeout=_SECONDS,
    )
    file.unlink()
    said = done.stderr.strip().replace(str(file), "compose.yaml").replace(str(folder), "")
    return said if done.returncode else ""


def record(program: str) -> None:
    """Ask Compose about every mutant, and write those that it refuses."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:
        folder = Path(place)
        for name, text in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        if said := _verdict(program, folder, "whole", compose_document()):
            raise SystemExit(said)
        found = list(compose_mutants())
        verdicts = pool.map(lambda one: _verdict(program, folder, one[0], one[1].document), found)
        refused = sorted(name for (name, _), said in zip(found, verdicts, strict=True) if said)
    REFUSED.write_text(json.dumps(refused, indent=0) + "\n")


if __name__ == "__main__":
    record(sys.argv[1])
