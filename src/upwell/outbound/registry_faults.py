"""Faults of registries in the words of Podman and Buildah, without what was answered.

Whoever names the address of a service that is no registry must not read its answers here. The
words are those of containers/image (`docker/errors.go`) and of Go's net/http.
"""

import re

_QUOTING = (
    (re.compile(r"error parsing HTTP (\d+) response body: .*", re.DOTALL), r"HTTP \1"),
    (re.compile(r"StatusCode: (\d+), \".*", re.DOTALL), r"HTTP \1"),
    (re.compile(r"(malformed (?:HTTP|MIME)[a-z ]*):? .*", re.DOTALL), r"\1"),
    (re.compile(r"(invalid character) .*", re.DOTALL), "the answer is not JSON"),
)


def without_answer(said: str) -> str:
    """Return the words up to where they quote an answer."""
    for quoting, instead in _QUOTING:
        said = quoting.sub(instead, said)
    return said
