"""Processes the Templates that clients send: `oc process`. TemplateInstances are not served."""

import secrets

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.codec import InvalidObjectError, decode_as, encode_json
from upwell.api.template import Template
from upwell.policy.templates.process import InvalidTemplateError, ProcessRequest, process_template
from upwell.server.http.body import decode_object, media_type, read_body
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget


class TemplateHandlers:
    """Answers the creation of processed templates."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits

    async def process(self, request: Request, target: RequestTarget) -> Response:
        """Answer the Template with its objects as they are to be applied; nothing is stored.

        Its parameters carry the values that were used, generated ones included.
        """
        body = await read_body(request, self._limits.body_bytes, self._limits.body_seconds)
        template = decode_as(Template, decode_object(body, media_type(request)))
        try:
            processed = process_template(template, ProcessRequest(), secrets.choice)
        except InvalidTemplateError as error:
            raise InvalidObjectError(f"Template {template.name!r}", error.faults) from error
        changes = {
            "objects": processed.objects,
            "parameters": processed.parameters,
            "message": processed.message or None,
        }
        answer = template.model_copy(update=changes).with_metadata(namespace=target.namespace)
        return json_response(encode_json(answer), 201)
