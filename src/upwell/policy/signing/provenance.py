"""Provenance of a built image (SLSA v1.0, Provenance): source, bases, parameters, builder.

It is made of the Build as the server recorded it, of which clients write the spec alone. What a
viewer of the Build may not read is not in it: credentials of URLs, values of Secrets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build
from upwell.api.meta import Model, format_time
from upwell.api.values.base_changes import BuildRebase
from upwell.api.write_only.fields import without_credentials
from upwell.api.write_only.hidden import published
from upwell.formats.sigstore import InTotoStatement, PredicateType, Subject
from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference

BUILD_TYPE = "https://upwell.dev/build/v1"
REBASE_TYPE = "https://upwell.dev/rebase/v1"
"""Of an image that was put on another base: its own layers are those of an earlier one."""
_PUSH_STAGE = "PushImage"
_SECRET_FIELDS = ("pullSecret", "pushSecret", "sourceSecret", "secrets")
"""Names of Secrets: no parameter of the result, and nobody's business elsewhere."""


@dataclass(frozen=True, slots=True)
class BuilderIdentity:
    """The server that builds: what verifiers trust provenance by."""

    id: str
    """A URI."""
    version: str


def made_here(build: Build) -> bool:
    """Return True if the build has made its image: it took none that equal inputs had made."""
    return any(stage.name == _PUSH_STAGE for stage in build.status.stages)


def provenance(build: Build, image: Subject, builder: BuilderIdentity) -> InTotoStatement:
    """Return the provenance of the image that `build` has pushed."""
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE if _rebase(build) is None else REBASE_TYPE,
            "externalParameters": _parameters(build),
            "internalParameters": {"inputs": build.status.inputs or ""},
            "resolvedDependencies": list(_dependencies(build)),
        },
        "runDetails": {
            "builder": {"id": builder.id, "version": {"upwell": builder.version}},
            "metadata": _metadata(build),
        },
    }
    return InTotoStatement((image,), PredicateType.PROVENANCE, predicate)


def _metadata(build: Build) -> Mapping[str, str]:
    status = build.status
    found = {"invocationId": f"{build.namespace}/{build.name}/{build.uid}"}
    if status.start_timestamp is not None:
        found["startedOn"] = format_time(status.start_timestamp)
    if status.completion_timestamp is not None:
        found["finishedOn"] = format_time(status.completion_timestamp)
    return found


def _parameters(build: Build) -> Mapping[str, Any]:
    """Return what the user chose: the spec, without what is secret and what names Secrets."""
    spec = published(build).spec
    found: dict[str, Any] = {
        "namespace": build.namespace,
        "buildConfig": build.labels.get(BUILD_CONFIG_LABEL, ""),
        "strategy": _plain(spec.strategy),
        "source": _plain(spec.source),
        "output": _plain(spec.output),
    }
    if spec.post_commit is not None:
        found["postCommit"] = _plain(spec.post_commit)
    return found


def _plain(model: Model) -> Any:
    document = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    return _without_secrets(document)


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: _without_secrets(item)
                for key, item in value.items()
                if key not in _SECRET_FIELDS
            }
        case list():
            return [_without_secrets(item) for item in value]
        case _:
            return value


def _dependencies(build: Build) -> Iterator[Mapping[str, Any]]:
    """Yield the source and every image that went in, each by digest."""
    git, commit = build.spec.source.git, build.revision.commit
    if git is not None and commit:
        ref = f"@{git.ref}" if git.ref else ""
        uri = f"git+{_escaped(without_credentials(git.uri))}{ref}"
        yield {"name": "source", "uri": uri, "digest": {"gitCommit": commit}}
    binary = build.spec.source.binary
    if binary is not None and (upload := _parsed(binary.digest or "")) is not None:
        yield {"name": "upload", "digest": {upload.algorithm: upload.hex}}
    for image in build.status.images:
        entry = _image(image.name, image.reference)
        if entry is None:
            continue
        if image.final:
            entry["annotations"] = {"base": "true"}
        yield entry
    if (rebase := _rebase(build)) is not None:
        for name, text in (("image", rebase.image), ("old base", rebase.base)):
            if (one := _image(name, text or "")) is not None:
                yield one


def _rebase(build: Build) -> BuildRebase | None:
    """Return what was rebased; None: the image was built."""
    found = build.status.rebase
    return found if found is not None and found.rebased else None


def _image(name: str, text: str) -> dict[str, Any] | None:
    """Return an image that went in; None: it has no digest."""
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError:
        return None
    digest = reference.digest
    if digest is None:
        return None
    uri = f"oci://{reference.name}"
    return {"name": name, "uri": uri, "digest": {digest.algorithm: digest.hex}}


def _escaped(uri: str) -> str:
    """Return a URI whose path has no `@`: the first one begins the revision (SPDX 2.3, 7.7)."""
    scheme, separator, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority}{slash}{path.replace('@', '%40')}"


def _parsed(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigestError:
        return None
