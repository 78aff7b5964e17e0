"""POST …/buildconfigs/NAME/webhooks/SECRET/TYPE: a git server says that there are new commits."""

from collections.abc import Mapping
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.actions.builds import BuildActions
from upwell.api.builds.config import BuildConfig
from upwell.api.core import Secret
from upwell.policy.access.secrets import secrets_requested
from upwell.policy.builds.git_webhooks import (
    SECRET_KEY,
    BadHookError,
    Hook,
    HookCall,
    Proceed,
    Skip,
    WrongSecretError,
    matching_trigger,
    read_call,
)
from upwell.policy.builds.requests import BuildRefusedError
from upwell.server.http.body import read_body
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.store.interface import NotFoundError, RejectedError, Store

_PLACE = "/namespaces/{namespace}/buildconfigs/{name}/webhooks/{secret}/{hook}"
_ROOTS = ("/apis/build.openshift.io/v1", "/oapi/v1")
"""The second is the address that webhooks of OpenShift 3 still have."""


def create_routes(store: Store, actions: BuildActions, limits: ServerLimits) -> list[BaseRoute]:
    """Return the routes; they must come before those that take any path of a group."""
    hooks = _BuildWebhooks(store, actions, limits)
    # Any method: one that is not accepted must not fall through to the routes of the group.
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return [Route(f"{root}{_PLACE}", hooks.answer, methods=methods) for root in _ROOTS]


class _BuildWebhooks:
    """Answers calls; an unknown BuildConfig, hook and secret all look the same."""

    def __init__(self, store: Store, actions: BuildActions, limits: ServerLimits) -> None:
        self._store = store
        self._actions = actions
        self._limits = limits

    async def answer(self, request: Request) -> Response:
        """Answer 200 with the Build, or with a Status that says why there is none."""
        if request.method != "POST":
            raise ApiError(405, f"{request.method} is not supported by webhooks: POST is")
        path = request.path_params
        named, name = path["hook"], path["name"]
        if named not in set(Hook):
            raise ApiError(404, f'buildconfighook.build.openshift.io "{named}" not found')
        hook = Hook(named)
        refused = ApiError(
            401,
            f'the webhook "{hook}" for "{name}" did not accept your secret',
            reason="Unauthorized",
        )
        try:
            config = await self._store.get(BuildConfig, path["namespace"], name)
        except NotFoundError:
            raise refused from None
        found = matching_trigger(config, hook, path["secret"], await self._secrets(config))
        if found is None:
            raise refused
        body = await read_body(request, self._limits.webhook_bytes, self._limits.body_seconds)
        call = HookCall({k.lower(): v for k, v in request.headers.items()}, body)
        try:
            asked = read_call(config, hook, found[0], found[1], call)
        except WrongSecretError:
            raise refused from None
        except BadHookError as error:
            raise ApiError(400, str(error)) from None
        match asked:
            case Skip(message):
                return _nothing(message)
            case Proceed():
                return await self._start(request, config, asked)

    async def _start(self, request: Request, config: BuildConfig, asked: Proceed) -> Response:
        if names := secrets_requested(asked.request):
            message = f"a webhook uses no Secret ({', '.join(names)}): name it in the BuildConfig"
            raise ApiError(400, message)
        try:
            build = await self._actions.instantiate(config.namespace, config.name, asked.request)
        except (BuildRefusedError, RejectedError) as error:
            message = f"Internal error occurred: could not generate a build: {error}"
            raise ApiError(500, message) from error
        answer = object_response(request, build)
        if asked.warning:
            answer.headers["Warning"] = f'299 upwell "{_quoted(asked.warning)}"'
        return answer

    async def _secrets(self, config: BuildConfig) -> Mapping[str, bytes]:
        """Return the values of the Secrets that the BuildConfig's triggers name."""
        names = {
            trigger.webhook.secret_reference.name
            for trigger in config.spec.triggers
            if trigger.webhook is not None and trigger.webhook.secret_reference is not None
        }
        found = {}
        for name in names:
            with suppress(NotFoundError):
                secret = await self._store.get(Secret, config.namespace, name)
                found[name] = secret.decoded().get(SECRET_KEY, b"")
        return found


def _nothing(message: str) -> Response:
    if not message:
        return Response(status_code=200)
    return JSONResponse(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "message": message,
            "code": 200,
        }
    )


def _quoted(text: str) -> str:
    """Return `text` as the inside of a quoted string of a header (RFC 9110, 5.6.4)."""
    visible = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return visible.replace("\\", "\\\\").replace('"', '\\"')
