"""Names of stream tags as users write them: `shop:latest`, `prod/shop:live`."""

import click

from upwell.oci.reference import is_tag
from upwell.policy.images.streams import StreamTag


def parse_stream_tag(text: str, namespace: str) -> StreamTag:
    """Return the tag that `[NAMESPACE/]STREAM[:TAG]` names; raises click.UsageError."""
    head, slash, rest = text.partition("/")
    if not slash:
        head, rest = namespace, text
    stream, colon, tag = rest.partition(":")
    tag = tag if colon else "latest"
    if not head or not stream or "/" in rest or "@" in rest or not is_tag(tag):
        raise click.UsageError(f"{text!r} is not a tag: write [NAMESPACE/]STREAM[:TAG]")
    return StreamTag(head, stream, tag)


def names_registry(text: str) -> bool:
    """Return whether an image's name begins with the host of a registry."""
    head, slash, _ = text.partition("/")
    return bool(slash) and ("." in head or ":" in head or head == "localhost")
