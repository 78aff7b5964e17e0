"""Processes the Templates that clients send: `oc process`. TemplateInstances are not served."""

import secrets

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.codec import InvalidObjectError, encode_json
from upwell.api.template import Template
from upwell.policy.templates.process import InvalidTemplateError, ProcessRequest, process_template
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import json_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.large_work import read_and_do


class TemplateHandlers:
    """Answers the creation of processed templates."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits

    async def process(self, request: Request, target: RequestTarget) -> Response:
        """Answer the Template with its objects as they are to be applied; nothing is stored.

        Its parameters carry the values that were used, generated ones included.
        """

        def answer_to(template: Template) -> str:
            return encode_json(_processed(template).with_metadata(namespace=target.namespace))

        return json_response(await read_and_do(request, self._limits, Template, answer_to), 201)


def _processed(template: Template) -> Template:
    try:
        processed = process_template(template, ProcessRequest(), secrets.choice)
    except InvalidTemplateError as error:
        raise InvalidObjectError(f"Template {template.name!r}", error.faults) from error
    changes = {
        "objects": processed.objects,
        "parameters": processed.parameters,
        "message": processed.message or None,
    }
    return template.model_copy(update=changes)
