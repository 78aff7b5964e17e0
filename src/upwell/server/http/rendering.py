"""Objects as answers: JSON as it is, a Table or the metadata alone where the client asks for it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from upwell.api.meta import Kind, Resource
from upwell.policy.access.visibility import EVERYTHING_VISIBLE, SecretView
from upwell.server.http.encoding import Piece, encoded, in_chunks
from upwell.server.http.errors import ApiError
from upwell.server.http.tables import (
    META_VERSION,
    partial_metadata_json,
    table,
    table_head,
    table_row_json,
)
from upwell.server.http.visibility import view_of

type Document = dict[str, Any]

_JSON = "application/json"
_READABLE = {_JSON, "application/*", "*/*", ""}
_METADATA = "PartialObjectMetadata"
_FORMS = {"Table", _METADATA, f"{_METADATA}List"}
"""Forms of meta.k8s.io/v1 that a client may ask for."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """Form in which one request wants its objects."""

    as_table: bool
    include: str
    """Content of a Table's rows: Metadata, Object or None."""
    now: datetime
    view: SecretView = EVERYTHING_VISIBLE
    metadata_only: bool = False

    def one(self, resource: Resource) -> Piece:
        """Return the JSON of an object, as its reader may see it."""
        resource = self.view.of(resource)
        if not self.as_table:
            return self._plain(resource)
        rendered = table(resource.KIND, [resource], self.now, self.include)
        rendered["metadata"] = {"resourceVersion": resource.resource_version}
        return json.dumps(rendered).encode()

    def many(
        self, kind: Kind, resources: Iterable[Resource], metadata: Document
    ) -> Iterator[Piece]:
        """Yield the JSON of a list in pieces, as its reader may see it."""
        shown: Iterable[Resource] = map(self.view.of, resources)
        if self.as_table:
            if any(column.notable for column in kind.columns):
                shown = list(shown)
            head, items = table_head(kind, shown if isinstance(shown, list) else ()), "rows"
            texts: Iterable[Piece] = (
                table_row_json(kind, resource, self.now, self.include) for resource in shown
            )
        else:
            head, items = {"kind": kind.list_kind, "apiVersion": kind.api_version}, "items"
            if self.metadata_only:
                head = {"kind": f"{_METADATA}List", "apiVersion": META_VERSION}
            texts = (self._plain(resource) for resource in shown)
        yield f'{json.dumps({**head, "metadata": metadata})[:-1]},"{items}":['.encode()
        for number, text in enumerate(texts):
            if number:
                yield b","
            yield text
        yield b"]}"

    def _plain(self, resource: Resource) -> Piece:
        if not self.metadata_only:
            return encoded(resource)
        return partial_metadata_json(resource).encode()

    def bookmark(self, kind: Kind, version: str, annotations: Document) -> bytes:
        """Return the JSON of the object of a bookmark."""
        metadata = {"resourceVersion": version, "annotations": annotations}
        if self.as_table:
            return b"".join(self.many(kind, (), metadata))
        names = (_METADATA, META_VERSION) if self.metadata_only else (kind.kind, kind.api_version)
        document = {"kind": names[0], "apiVersion": names[1], "metadata": metadata}
        return json.dumps(document).encode()


def rendering_for(request: Request, now: datetime) -> Rendering:
    """Return how the request wants its objects; raises ApiError 406."""
    include = request.query_params.get("includeObject", "Metadata")
    view = view_of(request)
    for wanted in request.headers.get("Accept", "").split(","):
        name, *parameters = (part.strip() for part in wanted.split(";"))
        options = dict(part.partition("=")[::2] for part in parameters)
        if name not in _READABLE:
            continue
        form = options.get("as")
        if form is None or (form in _FORMS and options.get("v") == "v1"):
            return Rendering(
                as_table=form == "Table",
                include=include,
                now=now,
                view=view,
                metadata_only=form is not None and form.startswith(_METADATA),
            )
    raise ApiError(
        406, f"the answer can be {_JSON}, also as Table or {_METADATA} of {META_VERSION}"
    )


def object_response(
    request: Request, resource: Resource, code: int = 200, warnings: Sequence[str] = ()
) -> Response:
    """Return an object as an answer in JSON, as the client may see it, with its warnings."""
    return json_response(encoded(view_of(request).of(resource)), code, warnings)


def list_response(
    request: Request,
    now: datetime,
    kind: Kind,
    resources: Iterable[Resource],
    metadata: Document,
) -> Response:
    """Return a list as an answer; a large one is sent as fast as its reader takes it."""
    chunks = in_chunks(rendering_for(request, now).many(kind, resources, metadata))
    first = next(chunks)
    second = next(chunks, None)
    if second is None:
        return Response(bytes(first), media_type=_JSON)
    return StreamingResponse(_in_turn(chain((first, second), chunks)), media_type=_JSON)


async def _in_turn(chunks: Iterable[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
    """Yield chunks, and let others have their turn in between."""
    for chunk in chunks:
        yield chunk
        await asyncio.sleep(0)


def json_response(text: str | Piece, code: int = 200, warnings: Sequence[str] = ()) -> Response:
    """Return JSON as an answer, with its warnings (RFC 9111's Warning, code 299)."""
    content = text if isinstance(text, str) else bytes(text)
    response = Response(content, code, media_type=_JSON)
    for warning in dict.fromkeys(warnings):
        response.headers.append("Warning", f'299 - "{_quoted(warning)}"')
    return response


def _quoted(text: str) -> str:
    """Return text as it may stand in a quoted string of a header."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')
