"""Flux's setters: a value is followed by a comment that names the image policy that sets it."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterator

import yaml

from upwell.policy.promotion.manifests.wanted import (
    ManifestError,
    WantedImage,
    pull_spec,
    tag_with_digest,
)
from upwell.policy.promotion.manifests.yaml_text import YamlText, text_of

MARK = "$imagepolicy"
_COMMENT = re.compile(r"#[ \t]*(\{[^\r\n]*\$imagepolicy[^\r\n]*\})[ \t]*\r?$", re.MULTILINE)
_BETWEEN = re.compile(r"[ \t,}\]]*")
"""Characters that may stand between a value and its setter."""
_PARTS = ("", "name", "tag", "digest")


def edit(text: YamlText, wanted: WantedImage) -> bool:
    """Set every value that the component's policy marks; return whether there are any."""
    found = [(node, part) for node, policy, part in _marked(text) if _is(policy, wanted)]
    for node, part in found:
        present = text_of(node)
        if part == "tag":
            text.set(node, tag_with_digest(present, wanted.image))
        elif part == "digest":
            text.set(node, str(wanted.image.digest))
        elif part == "name":
            if not wanted.image_is_in(present):
                text.set(node, wanted.image.name)
        else:
            text.set(node, pull_spec(present, wanted.image))
    return bool(found)


def missing(wanted: WantedImage, where: str) -> str:
    """Say what is missing when no value is marked."""
    policy = wanted.key or f"NAMESPACE:{wanted.component}"
    return f'no value in {where} is marked `# {{"{MARK}": "{policy}"}}`: add the comment'


def _is(policy: str, wanted: WantedImage) -> bool:
    if wanted.key:
        return policy == wanted.key
    return policy.partition(":")[2] == wanted.component


def _marked(text: YamlText) -> Iterator[tuple[yaml.ScalarNode, str, str]]:
    """Yield each marked value with its policy `NAMESPACE:NAME` and what is set of the image."""
    source = text.source
    if MARK not in source:
        return
    scalars = list(text.scalars())
    starts = [node.start_mark.index for node, _ in scalars]
    for comment in _COMMENT.finditer(source):
        at = comment.start()
        last = bisect_right(starts, at) - 1
        node, is_key = scalars[last] if last >= 0 else (None, True)
        if node is not None and at < node.end_mark.index:
            continue  # within a value, where `#` begins no comment
        where = f"{text.path}:{source.count(chr(10), 0, at) + 1}"
        if node is None or is_key or not _BETWEEN.fullmatch(source[node.end_mark.index : at]):
            raise ManifestError(f"{where}: the setter stands after no value")
        yield node, *_policy(comment[1], where)


def _policy(comment: str, where: str) -> tuple[str, str]:
    try:
        value = json.loads(comment)[MARK]
    except (ValueError, KeyError, RecursionError) as error:
        raise ManifestError(f'{where}: expected `# {{"{MARK}": "NAMESPACE:NAME"}}`') from error
    parts = value.split(":") if isinstance(value, str) else []
    if len(parts) not in {2, 3} or not all(parts) or (parts[2:] or [""])[0] not in _PARTS:
        raise ManifestError(
            f'{where}: expected "NAMESPACE:NAME" of an image policy, with :name, :tag or :digest'
            f" after it or nothing, not {value!r}"
        )
    return ":".join(parts[:2]), (parts[2:] or [""])[0]
