"""Source-to-Image decisions: script lookup, environment, labels.

The contract is that of the reference implementation (its docs/builder_image.md), with the result
image of its classic strategy: exec-form CMD, the builder's USER kept. As intended there, the
assemble script does not run through the builder's ENTRYPOINT.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from upwell.oci import ImageConfig

REQUIRED_SCRIPTS = ("assemble", "run")
SCRIPTS = (*REQUIRED_SCRIPTS, "save-artifacts")
RUNTIME_SCRIPTS = ("assemble-runtime", "run")
SOURCE_SCRIPT_FOLDERS = (".s2i/bin", ".sti/bin")
METADATA_FOLDER = "/tmp/.s2i"  # noqa: S108  # a path inside the image, named by the contract
METADATA_FILE = "image_metadata.json"
MAX_LABEL_BYTES = 10240
"""Of all labels in image_metadata.json together."""

SCRIPTS_LABEL = "io.openshift.s2i.scripts-url"
DESTINATION_LABEL = "io.openshift.s2i.destination"

_DEFAULT_DESTINATION = "/tmp"  # noqa: S108  # the same
_BUILD_LABEL = "io.openshift.build."
_S2I_LABEL = "io.openshift.s2i.build."
_ENV_NAME = re.compile(r"(?!-)[^=\s\0\"'\\$`]+")
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?"
_USER = re.compile(rf"{_NAME}(?::{_NAME})?")
"""User and group, by name or number."""


class S2iError(ValueError):
    """The builder image or the source breaks the contract; the message says how."""


@dataclass(frozen=True, slots=True)
class BuilderImage:
    """Facts that an S2I builder image states about itself."""

    scripts_url: str
    destination: str
    assemble_user: str
    user: str
    working_dir: str = ""
    on_build: tuple[str, ...] = ()
    input_files: str = ""
    """Files that a runtime image wants of the builder."""

    @classmethod
    def of(cls, config: ImageConfig, assemble_user: str = "") -> "BuilderImage":
        """Read labels and environment; `assemble_user` goes before the image's own."""
        label = "io.openshift.s2i.assemble-user"
        return cls._read(config, assemble_user or config.labels.get(label, ""))

    @classmethod
    def of_runtime(cls, config: ImageConfig, assemble_user: str = "") -> "BuilderImage":
        """Read a runtime image, whose assemble user is that of assemble-runtime."""
        label = "io.openshift.s2i.assemble-runtime-user"
        return cls._read(config, assemble_user or config.labels.get(label, ""))

    def at(self, destination: str) -> Self:
        """Return the image with another place for uploads, unless it is empty; raises S2iError."""
        return replace(self, destination=_path("destination", destination or self.destination))

    @classmethod
    def _read(cls, config: ImageConfig, assemble_user: str) -> "BuilderImage":
        """Read what a recipe is made of: each is a value of its kind, or S2iError is raised."""
        labels = config.labels
        env = dict(pair.partition("=")[::2] for pair in config.env)
        return cls(
            scripts_url=_path(
                "scripts URL",
                labels.get(SCRIPTS_LABEL)
                or labels.get("io.s2i.scripts-url")
                or env.get("STI_SCRIPTS_URL", ""),
            ),
            destination=_path(
                "destination",
                labels.get(DESTINATION_LABEL)
                or labels.get("io.s2i.destination")
                or env.get("STI_LOCATION", "")
                or _DEFAULT_DESTINATION,
            ),
            assemble_user=_user(assemble_user or config.user),
            user=_user(config.user),
            working_dir=_path("WORKDIR", config.working_dir),
            on_build=config.on_build,
            input_files=labels.get("io.openshift.s2i.assemble-input-files", ""),
        )


def _user(text: str) -> str:
    """Return the USER of an instruction; raises S2iError for a text that is none."""
    if text and _USER.fullmatch(text) is None:
        raise S2iError(
            f"the builder image runs as {text!r}, which is no user: expected NAME[:GROUP], or"
            " numbers; its USER or its label io.openshift.s2i.assemble-user says so"
        )
    return text


def _path(what: str, text: str) -> str:
    """Return a path or URL of the builder image; a variable in it would be replaced."""
    if not text.isprintable() or any(sign in text for sign in "$`\"'\\"):
        raise S2iError(f"the builder image's {what} is {text!r}, which is no path")
    return text


def image_path(url: str) -> str | None:
    """Return the path inside the image that an `image://` URL names; None for other schemes."""
    return "/" + url.removeprefix("image://").strip("/") if url.startswith("image://") else None


def parse_environment(text: str) -> tuple[tuple[str, str], ...]:
    """Read `.s2i/environment`: NAME=VALUE lines, `#` at the start is a comment, the last wins."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and not line.startswith("#"):
            found[name.strip()] = value.strip()
    return tuple(found.items())


def is_name(name: str) -> bool:
    """Return True if an environment variable can be called so."""
    return _ENV_NAME.fullmatch(name) is not None and name.isprintable()


def generated_labels(labels: Mapping[str, str], builder: str, display_name: str) -> dict[str, str]:
    """Return the labels of a source build: OpenShift's, their S2I twins, then `labels` itself."""
    generated = {f"{_BUILD_LABEL}image": builder}
    if display_name:
        generated["io.k8s.display-name"] = display_name
    generated |= {key: text for key, text in labels.items() if key.startswith(_BUILD_LABEL)}
    twins = {
        _S2I_LABEL + key.removeprefix(_BUILD_LABEL): text
        for key, text in generated.items()
        if key.startswith(_BUILD_LABEL)
    }
    return {**generated, **twins, **labels}


def metadata_labels(raw: bytes) -> dict[str, str]:
    """Read the labels that assemble left in image_metadata.json; raises S2iError."""
    try:
        document = json.loads(raw)
        entries = document["labels"]
        labels = {key: text for entry in entries for key, text in entry.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise S2iError(
            f'{METADATA_FILE} is not {{"labels": [{{"NAME": "VALUE"}}, …]}}: {error}'
        ) from error
    if not all(isinstance(text, str) for text in labels.values()):
        raise S2iError(f"{METADATA_FILE}: a label's value is not a string")
    if sum(len(key) + len(text) for key, text in labels.items()) > MAX_LABEL_BYTES:
        raise S2iError(f"{METADATA_FILE}: labels are longer than {MAX_LABEL_BYTES} bytes")
    return labels


def checked_name(name: str) -> str:
    """Return the name of an environment variable; raises S2iError for what is none."""
    if not is_name(name):
        raise S2iError(f"not the name of an environment variable: {name!r}")
    return name


def environment_instructions(env: Iterable[tuple[str, str]]) -> tuple[list[str], dict[str, str]]:
    """Return instructions that set `env`, and the build arguments that carry its values.

    So a value needs no quoting, may have several lines, and stands in no recipe, argument or log.
    They are as few as can be: Buildah starts itself anew for each.
    """
    pairs = [
        (checked_name(name), f"UPWELL_ENV_{index}", value)
        for index, (name, value) in enumerate(env)
    ]
    if not pairs:
        return [], {}
    arguments = " ".join(argument for _, argument, _ in pairs)
    setting = " ".join(f"{name}=${{{argument}}}" for name, argument, _ in pairs)
    values = {argument: value for _, argument, value in pairs}
    return [f"ARG {arguments}", f"ENV {setting}"], values
