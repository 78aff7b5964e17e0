"""Images that objects name, wherever they name them; pure.

Every text of an object counts, not only the fields that are known to hold images: a field that is
added later is covered before anybody thinks of it, and an annotation that pins an image is too.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.core import Event, Secret
from upwell.api.image import Image, ImageStream
from upwell.api.meta import Resource
from upwell.oci import Digest, InvalidReferenceError, Reference
from upwell.oci.registry_names import canonical_name

_DIGEST = re.compile(
    r"(?<![0-9a-z])(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})(?![0-9a-f])", re.ASCII
)
_NOT_USES = (Event, Image, Secret)
"""An Event tells what was; an Image is a record of what exists; a Secret is not looked into."""


@dataclass(frozen=True, slots=True)
class Use:
    """An object names an image: a digest, or a tag by its whole name."""

    image: Digest | Reference
    holder: str
    """The object and the field, for people."""
    source: Reference | None = None
    """The pull spec that the digest stands in, if it stands in one."""


def uses_of(objects: Iterable[Resource], host: str) -> Iterator[Use]:
    """Yield what objects name; tags only of the registry at `host`.

    The digests that a tag of an ImageStream had are no uses: how many stay is a matter of its own.
    """
    for resource in objects:
        if isinstance(resource, _NOT_USES):
            continue
        document = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
        if isinstance(resource, ImageStream):
            for entry in document["status"]["tags"]:
                entry["items"] = []
                entry["earlierImports"] = []
        yield from uses_in_document(document, str(resource.key), host)


def uses_in_document(document: Mapping[str, Any], holder: str, host: str) -> Iterator[Use]:
    """Yield what the JSON of an object names."""
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping) and "managedFields" in metadata:
        named = {name: value for name, value in metadata.items() if name != "managedFields"}
        document = {**document, "metadata": named}
    for path, text in _texts(document, ""):
        yield from uses_in_text(text, f"{holder} ({path})", host)


def reference_of(text: str) -> Reference | None:
    """Return the pull spec that a text is, or None."""
    try:
        return Reference.parse(text.removeprefix("docker://"))
    except InvalidReferenceError:
        return None


def uses_in_text(text: str, holder: str, host: str) -> Iterator[Use]:
    """Yield what a text names, such as a pull spec."""
    found = list(_DIGEST.finditer(text))
    source = reference_of(text) if len(found) == 1 and "@" in text else None
    for match in found:
        yield Use(Digest.parse(match[0]), holder, source)
    if not found and canonical_name(text).startswith(f"{host}/"):
        reference = reference_of(text)
        if reference is not None:
            yield Use(reference, holder)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a document with its path; keys of maps are texts as well."""
    match value:
        case str():
            yield path, value
        case dict():
            for key, inner in value.items():
                here = f"{path}.{key}" if path else key
                if isinstance(key, str) and ":" in key:
                    yield here, key
                yield from _texts(inner, here)
        case list() | tuple():
            for at, inner in enumerate(value):
                yield from _texts(inner, f"{path}[{at}]")
