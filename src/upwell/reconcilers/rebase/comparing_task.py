"""Compares an image and two bases, and makes the documents of the outcome: the task of a worker."""

import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from upwell.inventory.files.facts import read_facts
from upwell.inventory.interface import LayerFiles
from upwell.oci import Digest, Manifest, Reference, parse_manifest
from upwell.oci.rebase.documents import (
    BuildRecord,
    NamedBase,
    NotRebasableError,
    RebasedImage,
    rebased,
)
from upwell.oci.rebase.images import LayeredImage, recompressed
from upwell.policy.rebase.comparison import BaseComparison, BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding, shortened
from upwell.policy.rebase.layered_files import LayeredFiles
from upwell.policy.rebase.safety import (
    UnreadLayer,
    document_findings,
    rebase_findings,
    unread_findings,
)

_MOST_FINDINGS = 100
"""A person reads some; together they take a hundred and fifty kilobytes at most."""

type _Groups = Mapping[str, Sequence[LayerFiles]]


def run(source: IO[bytes], argument: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the documents of an image on its new base, and what speaks against it.

    `parts` of the argument has name and size of what is in the source: manifest and configuration
    (`document`) of the image, the old and the new base; the facts of layers, by their group; and
    the `request`. `facts` is the limit of facts, unpacked. Raises ValueError for an image that
    cannot stand on the new base.
    """
    documents: list[bytes] = []
    layers: dict[str, list[LayerFiles]] = defaultdict(list)
    request: Mapping[str, Any] = {}
    for name, size in argument["parts"]:
        content = source.read(size)
        if name == "document":
            documents.append(content)
        elif name == "request":
            request = json.loads(content)
        else:
            layers[name].append(read_facts(io.BytesIO(content), argument["facts"]))
    return _outcome(documents, layers, request)


def _outcome(
    documents: Sequence[bytes], layers: _Groups, request: Mapping[str, Any]
) -> Mapping[str, Any]:
    image, old, new = _images(documents, request["types"])
    if old.digest == new.digest and image.stands_on(new):
        return {"current": True}
    _, below, above = request["names"]
    made = rebased(image, _named(old, below), _named(new, above), _record(request["record"]))
    unread = [UnreadLayer(*one) for one in request["unread"]] or [*_untrue(made, layers)]
    if unread:
        findings = [*document_findings(made), *unread_findings(unread)]
    else:
        findings = _findings(made, layers, runs_scripts=request["runs_scripts"])
    return {
        "manifest": made.manifest.raw.decode(),
        "config": made.config.decode(),
        "findings": [
            [str(one.fault), one.why, one.paths, one.others] for one in _bounded(findings)
        ],
    }


def _images(documents: Sequence[bytes], types: Sequence[str]) -> Iterator[LayeredImage]:
    pairs = zip(documents[::2], documents[1::2], types, strict=True)
    for raw, config, media_type in pairs:
        manifest = parse_manifest(raw, media_type)
        if not isinstance(manifest, Manifest):
            raise NotRebasableError("it is no image of one platform")
        yield LayeredImage.parse(manifest, config)


def _named(image: LayeredImage, row: Sequence[str]) -> NamedBase:
    name, digest, known_as = row
    return NamedBase(image, Reference.parse(name), Digest.parse(digest), known_as)


def _record(row: Mapping[str, Mapping[str, str]] | None) -> BuildRecord | None:
    return None if row is None else BuildRecord(**row)


def _untrue(made: RebasedImage, layers: _Groups) -> Iterator[UnreadLayer]:
    """Yield the layers whose content is not what the configuration says."""
    image, old, new = made.source, made.old.image, made.new.image
    count = len(old.layers)
    expected: Mapping[str, Iterable[tuple[Any, Digest]]] = {
        "old": zip(old.layers, old.diff_ids, strict=True),
        "new": zip(new.layers, new.diff_ids, strict=True),
        "own": zip(image.layers[count:], image.diff_ids[count:], strict=True),
        "again": [
            (image.layers[at], image.diff_ids[at]) for at in recompressed(image.layers, old.layers)
        ],
    }
    for group, wanted in expected.items():
        for (layer, diff_id), found in zip(wanted, layers.get(group, ()), strict=True):
            if found.diff_id != diff_id:
                why = "its content is not what the configuration says"
                yield UnreadLayer(str(layer.digest), why)


def _findings(made: RebasedImage, layers: _Groups, *, runs_scripts: bool) -> list[RebaseFinding]:
    below, above = (LayeredFiles.of(layers.get(group, ())) for group in ("old", "new"))
    update = BaseUpdate(BaseComparison(below, above), layers.get("own", ()))
    return rebase_findings(made, update, runs_scripts=runs_scripts)


def _bounded(findings: Sequence[RebaseFinding]) -> Iterator[RebaseFinding]:
    yield from map(shortened, findings[:_MOST_FINDINGS])
    more = len(findings) - _MOST_FINDINGS
    if more > 0:
        yield RebaseFinding(RebaseFault.UNKNOWN, f"{more} more reasons are not told")
