"""Records anew what the API servers of Kubernetes and OpenShift store of what clients write.

    python -m tests.support.stored_defaults.recording CHECKOUT

CHECKOUT is one of github.com/openshift/openshift-apiserver, whose `vendor` folder has Kubernetes'
own code; `go` has to be in PATH, of the version in its go.mod. The objects are those that
`defaults.json` has already: write another one there, as `{"written": {…}, "stored": {}}`, then run
this.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DEFAULTS = Path(__file__).with_name("defaults.json")
_PROGRAM = Path(__file__).with_name("main.go")
_TAGS = "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper"
_EMPTY: tuple[Any, ...] = (None, {}, [], "", False)
_TOLD = {"local", "suspend"}
"""Flags that API servers store where they are false."""


def cases() -> list[dict[str, Any]]:
    """Return the objects as they are written and as they are stored."""
    found: list[dict[str, Any]] = json.loads(DEFAULTS.read_text())
    return found


def record(checkout: Path) -> None:
    """Write the recording anew."""
    written = [case["written"] for case in cases()]
    stored = _stored(checkout, written)
    lines = (
        json.dumps({"written": one, "stored": _bare(other)}, separators=(",", ":"))
        for one, other in zip(written, stored, strict=True)
    )
    DEFAULTS.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def _stored(checkout: Path, written: list[Any]) -> list[dict[str, Any]]:
    environment = {**os.environ, "GOFLAGS": "-mod=vendor", "GOTOOLCHAIN": "local"}
    with tempfile.TemporaryDirectory() as folder:
        overlay, program = Path(folder, "overlay.json"), Path(folder, "stored-defaults")
        # A part of the checkout for the compiler alone: nothing is written there.
        place = checkout.resolve() / "cmd/stored-defaults/main.go"
        overlay.write_text(json.dumps({"Replace": {str(place): str(_PROGRAM)}}))
        flags = ("-tags", _TAGS, "-overlay", overlay, "-o", program)
        command = ("go", "build", *flags, "./cmd/stored-defaults")
        subprocess.run(command, cwd=checkout, env=environment, check=True)
        ran = subprocess.run(
            [program], input=json.dumps(written), capture_output=True, text=True, check=True
        )
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return [{name: value for name, value in one.items() if name != "status"} for one in found]


def _bare(value: Any) -> Any:
    """Return data without what is empty: clients cannot tell it from what is not there."""
    if isinstance(value, dict):
        items = {name: _bare(one) for name, one in value.items()}
        return {name: one for name, one in items.items() if name in _TOLD or not _is_empty(one)}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def _is_empty(value: object) -> bool:
    return any(type(value) is type(empty) and value == empty for empty in _EMPTY)


if __name__ == "__main__":
    record(Path(sys.argv[1]))
