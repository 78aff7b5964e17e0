"""Evidence: what a CI uploads about a Release, and what a Promotion's checks have kept."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from upwell.api.promotion import Evidence, Promotion, Release
from upwell.oci import Digest, InvalidDigestError
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget
from upwell.server.http.uploads import keep_upload, upload_error
from upwell.server.promotion.requests import EvidenceEntry
from upwell.store.interface import Store
from upwell.uploads.interface import (
    BinaryInputs,
    InputError,
    InputMissingError,
    InputTooLargeError,
)

_MAX_NAME = 253


class KeptEvidence:
    """Evidence by its digest; `files` is None where none is kept."""

    def __init__(self, store: Store, files: BinaryInputs | None) -> None:
        self._store = store
        self._files = files

    async def upload(self, request: Request, target: RequestTarget) -> Response:
        """Keep the body under `?name=`, for a verdict on the Release that names its digest."""
        files = self._required()
        await self._store.get(Release, target.namespace, target.name)
        name = request.query_params.get("name", "")
        if not name or len(name) > _MAX_NAME or "/" in name or not name.isprintable():
            raise ApiError(400, f"name {name[:100]!r} is not the name of a file: send ?name=FILE")
        try:
            stored = await keep_upload(request, files, target.namespace)
        except InputTooLargeError as error:
            raise ApiError(413, f"evidence has at most {error.limit_bytes} bytes") from error
        except InputError as error:
            raise upload_error(error, "nothing is kept") from error
        kept = {"name": name, "digest": str(stored.digest), "size": stored.size}
        return JSONResponse(kept, 201)

    async def download(self, request: Request, target: RequestTarget) -> Response:
        """Answer a piece of evidence of a Promotion, by its digest."""
        files = self._required()
        promotion = await self._store.get(Promotion, target.namespace, target.name)
        wanted = request.query_params.get("digest", "")
        kept = [piece for check in promotion.status.checks for piece in check.evidence]
        found = next((piece for piece in kept if wanted and piece.digest == wanted), None)
        if found is None:
            known = ", ".join(f"{p.digest} ({p.name})" for p in kept if p.digest) or "none"
            raise ApiError(
                404, f"{target.key} has no evidence {wanted[:100]!r}: {known}", key=target.key
            )
        try:
            path = await _path(files, Digest.parse(found.digest), target.namespace)
        except (InputMissingError, InvalidDigestError) as error:
            why = error.why if isinstance(error, InputMissingError) else str(error)
            message = f"the content of {found.name} of {target.key} is not kept here: {why}"
            raise ApiError(410, message) from None
        except InputError as error:
            raise upload_error(error) from error
        # Whatever a test wrote is shown as bytes, never run by a browser.
        return FileResponse(
            path,
            media_type="application/octet-stream",
            filename=found.name,
            headers={"X-Content-Type-Options": "nosniff"},
        )

    async def entries(self, named: Sequence[EvidenceEntry], namespace: str) -> tuple[Evidence, ...]:
        """Return what a verdict names as evidence; raises ApiError for what is not kept."""
        return tuple([await self._entry(one, namespace) for one in named])

    async def _entry(self, named: EvidenceEntry, namespace: str) -> Evidence:
        if not named.digest:
            return Evidence(name=named.name, url=named.url)
        try:
            path = await self._required().path(Digest.parse(named.digest), namespace)
            size = (await asyncio.to_thread(path.stat)).st_size
        except (InputMissingError, InvalidDigestError, FileNotFoundError):
            raise ApiError(
                422,
                f"evidence {named.name}: {named.digest[:100]!r} is not kept here;"
                " POST it to …/releases/NAME/evidence?name=FILE first",
            ) from None
        except InputError as error:
            raise upload_error(error) from error
        return Evidence(name=named.name, digest=named.digest, size=size)

    def _required(self) -> BinaryInputs:
        if self._files is None:
            raise ApiError(501, "this server does not store evidence", reason="NotImplemented")
        return self._files


async def _path(files: BinaryInputs, digest: Digest, namespace: str) -> Path:
    """Return what a Promotion has as evidence; earlier versions kept it for others."""
    try:
        return await files.path(digest, namespace)
    except InputMissingError:
        return await files.path(digest)
