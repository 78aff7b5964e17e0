"""Objects as answers: JSON as it is, or a Table where the client asks for one."""

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.codec import encode_json
from upwell.api.meta import Kind, Resource
from upwell.policy.access.visibility import EVERYTHING_VISIBLE, SecretView
from upwell.server.http.errors import ApiError
from upwell.server.http.tables import table
from upwell.server.http.visibility import view_of

type Document = dict[str, Any]

_JSON = "application/json"
_KEPT, _MAX_KEPT_LETTERS = 512, 64 * 1024
_READABLE = {_JSON, "application/*", "*/*", ""}


class _Recent:
    """JSON texts of the objects that were asked for last: a change is told to all who watch."""

    def __init__(self) -> None:
        self._texts: OrderedDict[int, tuple[Resource, str]] = OrderedDict()

    def text(self, resource: Resource) -> str:
        """Return the JSON text of this very object."""
        found = self._texts.get(id(resource))
        if found is not None and found[0] is resource:
            return found[1]
        text = encode_json(resource)
        if len(text) <= _MAX_KEPT_LETTERS:
            self._texts[id(resource)] = resource, text
            if len(self._texts) > _KEPT:
                self._texts.popitem(last=False)
        return text


_recent = _Recent()


@dataclass(frozen=True, slots=True)
class Rendering:
    """Form in which one request wants its objects."""

    as_table: bool
    include: str
    """Content of a Table's rows: Metadata, Object or None."""
    now: datetime
    view: SecretView = EVERYTHING_VISIBLE

    def one(self, resource: Resource) -> str:
        """Return the JSON text of an object, as its reader may see it."""
        resource = self.view.of(resource)
        if not self.as_table:
            return _recent.text(resource)
        rendered = table(resource.KIND, [resource], self.now, self.include)
        rendered["metadata"] = {"resourceVersion": resource.resource_version}
        return json.dumps(rendered)

    def many(self, kind: Kind, resources: Iterable[Resource], metadata: Document) -> str:
        """Return the JSON text of a list, as its reader may see it."""
        resources = map(self.view.of, resources)
        if self.as_table:
            rendered = table(kind, resources, self.now, self.include)
            rendered["metadata"] = metadata
            return json.dumps(rendered)
        items = ",".join(encode_json(resource) for resource in resources)
        head = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata}
        return f'{json.dumps(head)[:-1]},"items":[{items}]}}'

    def bookmark(self, kind: Kind, version: str, annotations: Document) -> str:
        """Return the JSON text of the object of a bookmark."""
        metadata = {"resourceVersion": version, "annotations": annotations}
        if self.as_table:
            return self.many(kind, (), metadata)
        return json.dumps({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})


def rendering_for(request: Request, now: datetime) -> Rendering:
    """Return how the request wants its objects; raises ApiError 406."""
    include = request.query_params.get("includeObject", "Metadata")
    view = view_of(request)
    for wanted in request.headers.get("Accept", "").split(","):
        name, *parameters = (part.strip() for part in wanted.split(";"))
        options = dict(part.partition("=")[::2] for part in parameters)
        if name not in _READABLE:
            continue
        if options.get("as") == "Table" and options.get("v") == "v1":
            return Rendering(as_table=True, include=include, now=now, view=view)
        if "as" not in options:
            return Rendering(as_table=False, include=include, now=now, view=view)
    raise ApiError(406, f"the answer can be {_JSON}, also as a Table of meta.k8s.io/v1")


def object_response(request: Request, resource: Resource, code: int = 200) -> Response:
    """Return an object as an answer in JSON, as the client may see it."""
    return json_response(_recent.text(view_of(request).of(resource)), code)


def json_response(text: str, code: int = 200, warnings: Sequence[str] = ()) -> Response:
    """Return JSON text as an answer, with its warnings (RFC 9111's Warning, code 299)."""
    response = Response(text, code, media_type=_JSON)
    for warning in dict.fromkeys(warnings):
        response.headers.append("Warning", f'299 - "{_quoted(warning)}"')
    return response


def _quoted(text: str) -> str:
    """Return text as it may stand in a quoted string of a header."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')
