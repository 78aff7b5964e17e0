"""Every object of OpenShift's own manifests that the API stores."""

from collections.abc import Iterator
from typing import Any

from tests.support.openshift import CORPUS

from upwell.api.codec import UnknownKindError, resource_for
from upwell.api.manifests import InvalidManifestTextError, parse_manifests
from upwell.api.schemas.openapi import collection_path


def corpus_objects() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a known kind, those in Templates too, and its collection's path.

    The objects of each file are in a namespace of their own.
    """
    files = sorted(CORPUS.rglob("*"))
    for count, file in enumerate(f for f in files if f.suffix in {".json", ".yaml", ".yml"}):
        try:
            documents = parse_manifests(file.read_text(), file.name)
        except InvalidManifestTextError:
            continue
        for document in documents:
            documents.extend(document.get("objects") or ())
            try:
                kind = resource_for(document["apiVersion"], document["kind"]).KIND
            except (KeyError, UnknownKindError):
                continue
            metadata = document.get("metadata", {})
            # An exported object names what it was read as, and so would conflict.
            for field in ("namespace", "resourceVersion", "uid"):
                metadata.pop(field, None)
            if not kind.is_stored:
                continue
            path = collection_path(kind).format(namespace=f"n{count}")
            yield path, document | {"apiVersion": kind.api_version}
