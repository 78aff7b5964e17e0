"""Parsers of what strangers write, as functions of bytes that raise what they must not."""

import io
import json
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.api.manifests import InvalidManifestTextError
from upwell.api.patches.apply import ApplyConflictError, InvalidApplyError, Manager, apply
from upwell.api.patches.content_types import PATCHES
from upwell.api.patches.patch import PatchError
from upwell.builder import archive
from upwell.cli.core.terminal import LogFilter, shown
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import parse
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.formats.s2i.contract import S2iError
from upwell.formats.s2i.ignore import ignore_rules
from upwell.inventory import layer_archive
from upwell.inventory.databases import APK_INSTALLED, DPKG_STATUS, parse_database
from upwell.inventory.files import archive as layer_files
from upwell.inventory.files.elf import UnreadableElfError, elf_row
from upwell.machine import clock
from upwell.oci import (
    ImageConfig,
    InvalidManifestError,
    InvalidReferenceError,
    Manifest,
    Reference,
    parse_manifest,
)
from upwell.oci.rebase.documents import NamedBase, NotRebasableError, rebased
from upwell.oci.rebase.images import LayeredImage
from upwell.oci.rebase.records import base_records
from upwell.policy.images.selection import InvalidSelectionError, TagSelection
from upwell.policy.promotion.verification.junit import InvalidReportError, parse_report
from upwell.policy.rebase.safety import document_findings
from upwell.server.http.body import decode_json, decode_yaml_object
from upwell.server.http.errors import ApiError
from upwell.server.http.selectors import parse_filter
from upwell.workers.child import answer

DPKG = "Package: a\nStatus: install ok installed\nVersion: 1\nSource: b (2)\n\n"
DOCUMENT = {
    "metadata": {"name": "a", "finalizers": ["x"]},
    "spec": {"containers": [{"name": "a", "ports": [{"containerPort": 1}], "args": ["x", "y"]}]},
}


@dataclass(frozen=True)
class FuzzTarget:
    """A function of hostile bytes, which raises what is a fault, and bytes to begin with."""

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def _layer(data: bytes) -> None:
    limits = {"unpacked": 4 * 1024**2, "database": 100_000, "entries": 1000, "packages": 1000}
    _require_answer(answer(layer_archive.run, io.BytesIO(data), limits))


def _layer_files(data: bytes) -> None:
    bounds = {"unpacked": 4 * 1024**2, "least": 1024**2, "ratio": 32}
    limits = {**bounds, "elf": 1024**2, "entries": 1000, "characters": 100_000}
    _require_answer(answer(layer_files.found_in, io.BytesIO(data), limits))


def _elf(data: bytes) -> None:
    with suppress(UnreadableElfError):
        elf_row(io.BytesIO(data))


def _rebase(data: bytes) -> None:
    """Rebase an image of this configuration from and to a base of the same."""
    with suppress(InvalidManifestError, NotRebasableError):
        manifest = parse_manifest(_MANIFEST.replace(b"x/y", _CONFIG_TYPE, 1))
        if isinstance(manifest, Manifest):
            image = LayeredImage.parse(manifest, data)
            base = NamedBase(image, Reference.parse("a.test/b:1"), image.digest)
            made = rebased(image, base, base)
            document_findings(made)
            base_records(made.image)


def _archive(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="upwell-fuzz-") as folder:
        argument = {"target": folder, "content_bytes": 1024**2, "entries": 100}
        _require_answer(answer(archive.run, io.BytesIO(data), argument))


def _require_answer(found: Mapping[str, Any]) -> None:
    """Raise AssertionError for an error that nobody foresaw, which the worker itself lets pass."""
    json.dumps(found)
    unforeseen = ("TypeError", "AttributeError", "KeyError", "IndexError", "AssertionError")
    assert not str(found.get("refused", "")).startswith(unforeseen), found


def _databases(data: bytes) -> None:
    text = data.decode(errors="replace")
    for path in (DPKG_STATUS, *APK_INSTALLED):
        parse_database(path, text)


def _patch(data: bytes) -> None:
    with suppress(ApiError):
        patch = decode_json(data)
        for change in PATCHES.values():
            with suppress(PatchError):
                json.dumps(change(DOCUMENT, patch))


def _apply(data: bytes) -> None:
    with suppress(ApiError, InvalidApplyError, ApplyConflictError, InvalidManifestTextError):
        declared = decode_yaml_object(data)
        if isinstance(declared.get("metadata") or {}, dict):
            declared["metadata"] = declared.get("metadata") or {}
            apply(DOCUMENT, declared, Manager("fuzz", "v1", clock.now()), force=True)


def _expression(data: bytes) -> None:
    with suppress(InvalidExpressionError):
        RegularExpression(data.decode(errors="surrogateescape")).search("ab-1.2" * 700)


def _selection(data: bytes) -> None:
    with suppress(InvalidSelectionError):
        TagSelection(data.decode(errors="replace")).choose(["1.2.3", "v1", "n-20260101"] * 50)


def _ignore(data: bytes) -> None:
    with suppress(S2iError):
        ignore_rules(data.decode(errors="replace"), ["a/b/c", "a" * 255, "x.y"])


def _filter(data: bytes) -> None:
    labels, _, fields = data.decode(errors="replace").partition("\n")
    with suppress(ApiError):
        parse_filter(labels, fields)


def _manifest(data: bytes) -> None:
    with suppress(InvalidManifestError):
        parse_manifest(data)
    with suppress(InvalidManifestError):
        ImageConfig.parse(data)


def _reference(data: bytes) -> None:
    with suppress(InvalidReferenceError):
        Reference.parse(data.decode(errors="replace"))


def _dockerfile(data: bytes) -> None:
    with suppress(DockerfileError):
        parse(data.decode(errors="replace"))


def _report(data: bytes) -> None:
    with suppress(InvalidReportError):
        parse_report(data)


def _terminal(data: bytes) -> None:
    filtered = LogFilter(is_terminal=True)
    filtered.feed(data)
    filtered.end()
    shown(data.decode(errors="surrogateescape")).encode()


def _tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]  # any mode
        entry = tarfile.TarInfo(DPKG_STATUS)
        entry.size, entry.pax_headers = len(DPKG), {"comment": "x"}
        tar.addfile(entry, io.BytesIO(DPKG.encode()))
        for name in ("var/lib/.wh.dpkg", "a" * 200):
            tar.addfile(tarfile.TarInfo(name))
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/b", "x" * 100)
    return buffer.getvalue()


_MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "config": {"mediaType": "x/y", "digest": f"sha256:{'a' * 64}", "size": 1},
        "layers": [{"mediaType": "x/y", "digest": f"sha256:{'b' * 64}", "size": 2}],
        "annotations": {"a": "\ud800"},
    }
).encode()

_CONFIG_TYPE = b"application/vnd.oci.image.config.v1+json"
_CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/a:/b", "A=b"],
            "Cmd": ["x"],
            "Labels": {"io.buildpacks.lifecycle.metadata": '{"runImage":{"reference":"a@b"}}'},
            "Volumes": {"/a": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'c' * 64}"]},
        "history": [{"created_by": "a"}, {"empty_layer": True}],
    }
).encode()

TARGETS: Mapping[str, FuzzTarget] = {
    "layer": FuzzTarget(_layer, (_tar("w"), _tar("w:gz"))),
    "layer files": FuzzTarget(_layer_files, (_tar("w"), _tar("w:gz"))),
    "elf": FuzzTarget(_elf, (Path(shutil.which("true") or sys.executable).read_bytes(),)),
    "rebase": FuzzTarget(_rebase, (_CONFIG,)),
    "archive": FuzzTarget(_archive, (_tar("w"), _tar("w:gz"), _tar("w:xz"), _zip())),
    "databases": FuzzTarget(_databases, (DPKG.encode(), b"P:a\nV:1\nA:x\no:b\n\n")),
    "report": FuzzTarget(
        _report, (b'<testsuite failures="1"><testcase name="a"><failure/></testcase></testsuite>',)
    ),
    "dockerfile": FuzzTarget(
        _dockerfile,
        (b"ARG A=b\nFROM x:$A AS y\nRUN --mount=type=bind,from=z echo \\\n a <<E\nb\nE\n",),
    ),
    "patch": FuzzTarget(
        _patch,
        (
            b'[{"op": "copy", "from": "/spec", "path": "/spec/a"}]',
            b'{"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}',
            b'{"metadata": {"$setElementOrder/finalizers": ["y", {}], "finalizers": [1]}}',
        ),
    ),
    "apply": FuzzTarget(_apply, (b"metadata: {name: a}\nspec: {containers: [{name: b}]}\n",)),
    "expression": FuzzTarget(_expression, (b"^v(\\d+)[a-z]{1,9}(?P<x>.*)$", b"(a|b*)+?")),
    "selection": FuzzTarget(_selection, (b"semver:>=1.2 <2 || ~3", b"pattern:^v1", b"newest:n")),
    "ignore": FuzzTarget(_ignore, (b"*.log\n!keep.log\n[a-z]?/**\n\\*x",)),
    "filter": FuzzTarget(_filter, (b"a=b,c in (d, e),!f\nmetadata.name=x",)),
    "manifest": FuzzTarget(_manifest, (_MANIFEST,)),
    "reference": FuzzTarget(_reference, (b"host.test:5000/a/b:tag@sha256:" + b"a" * 64,)),
    "terminal": FuzzTarget(_terminal, (b"\x1b[31mred\x1b[0m\r\n\xc2\x9b",)),
}
