"""Facts of a Dockerfile for `new-app`: the images that it is made from, and the port."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from upwell.formats.dockerfile.instructions import instructions
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import parse
from upwell.policy.new_app.components import NewAppError

_PORT = re.compile(r"(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp|sctp))?")
_MAX_PORT = 65535
_USUAL_PORT = 8080


@dataclass(frozen=True, slots=True)
class DockerfileFacts:
    """Facts that a Dockerfile states."""

    base: str = ""
    """The image that the last FROM names; empty when that is a stage before it, or `scratch`."""
    others: tuple[str, ...] = ()
    """The other images that it takes something from."""
    port: int | None = None
    volumes: tuple[str, ...] = ()
    """Paths at which it declares volumes."""


def read_dockerfile(text: str) -> DockerfileFacts:
    """Return the facts of a Dockerfile; raises NewAppError."""
    try:
        document = parse(text)
        exposed, volumes = _words(text, "EXPOSE"), _words(text, "VOLUME")
    except DockerfileError as error:
        raise NewAppError(f"the Dockerfile cannot be read: {error}") from error
    last = document.stages[-1]
    base = last.base if last.parent is None and last.base in document.images else ""
    others = tuple(image for image in document.images if image != base)
    # An array in JSON is as good as words.
    paths = [path for word in volumes for path in re.split(r'[\[\],"\s]+', word) if path]
    return DockerfileFacts(base, others, chosen_port(exposed), tuple(paths))


def _words(text: str, keyword: str) -> list[str]:
    return [
        word.text
        for instruction in instructions(text)
        if instruction.keyword == keyword
        for word in instruction.words
    ]


def exposed_port(metadata: Mapping[str, object]) -> int | None:
    """Return the port of an image from its metadata (image/docker10 DockerImage), if it has one."""
    config = metadata.get("Config")
    exposed = config.get("ExposedPorts") if isinstance(config, Mapping) else None
    return chosen_port(exposed) if isinstance(exposed, Mapping) else None


def chosen_port(exposed: Iterable[str]) -> int | None:
    """Return 8080 if that is one of the TCP ports of `PORT[/PROTOCOL]` texts, else the lowest."""
    ports = {
        int(match["port"])
        for text in exposed
        if (match := _PORT.fullmatch(text)) and match["protocol"] in {None, "tcp"}
    }
    usable = {port for port in ports if 0 < port <= _MAX_PORT}
    return _USUAL_PORT if _USUAL_PORT in usable else min(usable, default=None)
