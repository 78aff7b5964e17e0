"""Names of images that name no registry: which image they mean, and which somebody may mean."""

from upwell.oci import Reference
from upwell.oci.registry_names import OPENSHIFT_NAME


def is_short(text: str) -> bool:
    """Return True if the name of an image has no registry, so that it is Docker Hub's."""
    first, slash, _ = text.partition("@")[0].partition("/")
    return not slash or not ("." in first or ":" in first or first == "localhost")


def stream_of(text: str) -> str:
    """Return the ImageStream that somebody may mean by a short name; empty: there is none."""
    name = text.partition("@")[0].partition(":")[0]
    return "" if not is_short(text) or "/" in name else name


def meaning(text: str, found: Reference, namespace: str, *, is_stream: bool) -> str:
    """Say what a short name means, and how the image of a stream of that name is written."""
    said = f"{text} names no registry: it is {found.name}"
    if not is_stream:
        return said
    rest = text.removeprefix(stream_of(text))
    own = f"{OPENSHIFT_NAME}/{namespace}/{stream_of(text)}{rest}"
    return f"{said}; the image of the ImageStream is {own}"
