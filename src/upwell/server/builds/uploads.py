"""POST …/buildconfigs/NAME/instantiatebinary: the body is what is built."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from upwell.actions.builds import BuildActions
from upwell.api.builds.config import BinaryInput, BuildConfig
from upwell.api.builds.inputs import GitSourceRevision, SourceControlUser, SourceRevision
from upwell.oci import Digest
from upwell.server.builds.builds import build_client
from upwell.server.http.errors import ApiError
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.http.uploads import keep_upload, upload_error, upload_pieces
from upwell.server.objects.write_options import write_options
from upwell.store.interface import Store
from upwell.uploads.interface import (
    BinaryInputs,
    InputError,
    StoredInput,
)

_MAX_TEXT = 4096
"""Characters of one field of the revision."""


class UploadHandlers:
    """Takes uploads for builds; `inputs` is None where none are kept."""

    def __init__(self, store: Store, inputs: BinaryInputs | None, actions: BuildActions) -> None:
        self._store = store
        self._inputs = inputs
        self._actions = actions

    async def instantiate_binary(self, request: Request, target: RequestTarget) -> Response:
        """Keep the body, then start a build of it (build/v1 BinaryBuildRequestOptions).

        Upwell's own beside them: `?unlessBuilt=true`, as in a BuildRequest.
        """
        if self._inputs is None:
            raise ApiError(501, "this server does not accept uploads", reason="NotImplemented")
        config = await self._store.get(BuildConfig, target.namespace, target.name)
        if config.spec.strategy.jenkins_pipeline_strategy is not None:
            raise ApiError(422, f"{config.key} is built by an external CI and takes no upload")
        as_file = request.query_params.get("asFile", "")
        if "/" in as_file or as_file in {".", ".."} or len(as_file) > _MAX_TEXT:
            raise ApiError(400, f"asFile {as_file[:100]!r} is not the name of a file")
        unless_built = _is_set(request, "unlessBuilt")
        dry_run = write_options(request).dry_run
        try:
            stored = await (
                _measured(upload_pieces(request))
                if dry_run
                else keep_upload(request, self._inputs, target.namespace)
            )
        except InputError as error:
            raise upload_error(error, "nothing is started") from error
        if not stored.size:
            raise ApiError(400, "the body is empty: send a file or an archive")
        upload = BinaryInput(
            digest=str(stored.digest), as_file=as_file or None, revision=_revision(request)
        )
        build = await self._actions.instantiate_binary(
            target.namespace,
            target.name,
            upload,
            build_client(request),
            unless_built=unless_built,
            dry_run=dry_run,
        )
        return object_response(request, build, 201)


async def _measured(pieces: AsyncIterator[bytes]) -> StoredInput:
    """Return what an upload would be stored as, and keep nothing of it."""
    content, size = hashlib.sha256(), 0
    async for piece in pieces:
        content.update(piece)
        size += len(piece)
    return StoredInput(Digest("sha256", content.hexdigest()), size)


def _is_set(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise ApiError(400, f"{name}={text[:100]!r}: write true or false")
    return text == "true"


def _revision(request: Request) -> SourceRevision | None:
    """Return the SourceRevision that the query describes, as far as it does."""

    def text(name: str) -> str:
        return request.query_params.get(f"revision.{name}", "")[:_MAX_TEXT]

    def person(role: str) -> SourceControlUser | None:
        found = {"name": text(f"{role}Name"), "email": text(f"{role}Email")}
        known = {key: value for key, value in found.items() if value}
        return SourceControlUser(**known) if known else None

    git: dict[str, Any] = {
        "commit": text("commit"),
        "message": text("message"),
        "author": person("author"),
        "committer": person("committer"),
    }
    git = {key: value for key, value in git.items() if value}
    return SourceRevision.of_git(GitSourceRevision(**git)) if git else None
