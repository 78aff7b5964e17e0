"""Real OpenShift manifests: each object decodes, or is refused with a reason that has a path."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.openshift import CORPUS, needs_corpus

from upwell.api.codec import InvalidObjectError, UnknownKindError, decode, encode
from upwell.api.defaults import apply_defaults
from upwell.api.manifests import InvalidManifestTextError, parse_manifests
from upwell.api.meta import Resource
from upwell.api.template import Template
from upwell.api.validation.objects import validate

pytestmark = needs_corpus


def _files() -> list[Path]:
    return sorted(path for path in CORPUS.rglob("*") if path.suffix in {".json", ".yaml", ".yml"})


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in _files():
        name = str(path.relative_to(CORPUS))
        try:
            for document in parse_manifests(path.read_text(), name):
                yield name, document
        except InvalidManifestTextError:
            continue


def _decoded() -> Iterator[tuple[str, dict[str, Any], Resource]]:
    for name, document in _documents():
        try:
            yield name, document, decode(document)
        except (InvalidObjectError, UnknownKindError):
            continue


def test_files_that_are_no_manifests_say_where() -> None:
    refused = []
    for path in _files():
        name = str(path.relative_to(CORPUS))
        try:
            parse_manifests(path.read_text(), name)
        except InvalidManifestTextError as error:
            refused.append(str(error))

    assert all(": " in message for message in refused)
    assert len(refused) < len(_files()) / 20


def test_every_object_decodes_or_is_refused_with_a_path() -> None:
    decoded, refused, unknown = 0, [], []
    for name, document in _documents():
        try:
            decode(document)
        except UnknownKindError as error:
            unknown.append((error.kind, document.get("kind", "")))
        except InvalidObjectError as error:
            refused += [(name, fault) for fault in error.faults]
        else:
            decoded += 1

    assert decoded > 100
    assert all(named == found for named, found in unknown)
    assert all(fault.path for _, fault in refused)
    assert len(refused) < decoded / 20, refused


def test_every_object_of_a_user_comes_back_as_it_was_written() -> None:
    for name, document, resource in _decoded():
        if isinstance(resource, Template):
            continue  # its objects have their own nulls, which are data until it is processed
        wanted = _without_nulls(document)
        wanted["apiVersion"] = resource.KIND.api_version

        assert _times_aside(encode(resource)) == _times_aside(wanted), name


def test_defaults_of_real_objects_are_idempotent() -> None:
    for name, _, resource in _decoded():
        complete = apply_defaults(resource)

        assert apply_defaults(complete) == complete, name
        assert decode(encode(complete)) == complete, name


def test_every_fault_of_a_real_object_has_a_path() -> None:
    faults = [
        (name, fault)
        for name, _, resource in _decoded()
        for fault in validate(apply_defaults(resource))
    ]

    assert all(fault.path for _, fault in faults)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _times_aside(value: Any) -> Any:
    """Times may be written in several ways; the codec has one."""
    if isinstance(value, dict):
        return {
            key: _times_aside(item)
            for key, item in value.items()
            if not key.lower().endswith(("timestamp", "time", "created"))
        }
    if isinstance(value, list):
        return [_times_aside(item) for item in value]
    return value
