"""Rules of ImageStreams and ImageStreamImports (image/v1 types.go)."""

import re
from collections.abc import Iterator

from tests.support.mutations.mutants import Document
from tests.support.mutations.openshift.shared import PULL_SPEC, TAG, Table, part_of, reference_types
from tests.support.mutations.rules import (
    BOOL,
    INT64,
    LIST,
    OBJECT,
    TEXT,
    FieldRule,
    KindRules,
    empty_or,
    matches,
    needed,
    one_of,
)


def _import_policy(prefix: str) -> Table:
    return {
        f"{prefix}.importPolicy": OBJECT,
        f"{prefix}.importPolicy.insecure": BOOL,
        f"{prefix}.importPolicy.scheduled": BOOL,
        f"{prefix}.importPolicy.importMode": TEXT & empty_or(one_of("Legacy", "PreserveOriginal")),
        f"{prefix}.referencePolicy": OBJECT,
        f"{prefix}.referencePolicy.type": TEXT,
    }


def _repository(text: str) -> bool:
    found = re.fullmatch(PULL_SPEC, text)
    return found is not None and "@" not in text and ":" not in text.rpartition("/")[2]


def _stream_tags(document: Document) -> Iterator[str]:
    for at, tag in enumerate(part_of(document, "spec").get("tags") or ()):
        reference = tag.get("from")
        if reference is None:
            continue
        path = f"spec.tags[{at}].from"
        # More lenient: without a kind it is a tag, as everywhere else.
        kind, name = reference.get("kind") or "ImageStreamTag", reference.get("name") or ""
        if kind not in {"DockerImage", "ImageStreamTag", "ImageStreamImage"}:
            yield f"{path}.kind"
        elif not (re.fullmatch(PULL_SPEC, name) if kind == "DockerImage" else name):
            yield f"{path}.name"
        if kind != "DockerImage" and part_of(tag, "importPolicy").get("scheduled"):
            yield f"spec.tags[{at}].importPolicy.scheduled"


def _each_tag_once(document: Document) -> Iterator[str]:
    # Stricter: of two tags of one name nobody can say which was meant.
    names = [one.get("name") for one in part_of(document, "spec").get("tags") or ()]
    if len(set(names)) != len(names):
        yield f"spec.tags[{len(names) - 1}].name"


IMAGE_STREAM = KindRules(
    {
        "spec": OBJECT,
        "spec.lookupPolicy": OBJECT,
        "spec.lookupPolicy.local": BOOL,
        "spec.dockerImageRepository": TEXT & empty_or(_repository),
        "spec.tags": LIST,
        "spec.tags[]": OBJECT,
        # Stricter: a tag that no registry takes has no use.
        "spec.tags[].name": needed(TEXT & matches(TAG)),
        "spec.tags[].annotations": OBJECT,
        "spec.tags[].annotations{}": TEXT,
        "spec.tags[].reference": BOOL,
        "spec.tags[].generation": INT64,
        **reference_types("spec.tags[].from"),
        **_import_policy("spec.tags[]"),
        "spec.tags[].referencePolicy.type": TEXT & empty_or(one_of("Source", "Local")),
    },
    (_stream_tags, _each_tag_once),
)


def _imports(document: Document) -> Iterator[str]:
    spec = part_of(document, "spec")
    if not spec.get("images") and spec.get("repository") is None:
        yield "spec.images"
    for at, image in enumerate(spec.get("images") or ()):
        reference = part_of(image, "from")
        if reference.get("kind") != "DockerImage":
            yield f"spec.images[{at}].from.kind"
        elif not re.fullmatch(PULL_SPEC, reference.get("name") or "") and (
            reference.get("name") != "*"
        ):
            yield f"spec.images[{at}].from.name"
        if image.get("to") is not None and not image["to"].get("name"):
            yield f"spec.images[{at}].to.name"
    if spec.get("repository") is not None:
        reference = part_of(spec, "repository", "from")
        if reference.get("kind") != "DockerImage":
            yield "spec.repository.from.kind"
        elif not _repository(reference.get("name") or ""):
            yield "spec.repository.from.name"


IMAGE_STREAM_IMPORT = KindRules(
    {
        "spec": FieldRule((dict,), required=True),
        "spec.import": BOOL,
        "spec.repository": OBJECT,
        "spec.images": LIST,
        "spec.images[]": OBJECT,
        "spec.images[].to": OBJECT,
        "spec.images[].to.name": TEXT,
        **{
            path: rule
            for place in ("spec.images[]", "spec.repository")
            for path, rule in {
                f"{place}.includeManifest": BOOL,
                **reference_types(f"{place}.from"),
                **_import_policy(place),
            }.items()
        },
    },
    (_imports,),
)
