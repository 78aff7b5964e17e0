"""POST serviceaccounts/NAME/token: a token of a ServiceAccount, for who may do what it may."""

from collections.abc import Iterator
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from upwell.api.codec import InvalidObjectError, decode_and_check
from upwell.api.core import Secret, ServiceAccount
from upwell.api.requests.token_request import (
    ServiceAccountTokenRequest,
    TokenRequestSpec,
    TokenRequestStatus,
)
from upwell.api.values.faults import Fault
from upwell.policy.access.roles import grant_text
from upwell.policy.access.service_accounts import account_name, exceeding
from upwell.server.auth.caller import caller_of, person_of
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.auth.service_accounts import (
    API_AUDIENCE,
    DEFAULT_LIFETIME,
    LONGEST_LIFETIME,
    SHORTEST_LIFETIME,
    AccountTokens,
    WantedAccountToken,
)
from upwell.server.auth.tokens import named_person
from upwell.server.http.body import decode_object, media_type, read_body
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import ServerLimits
from upwell.server.http.rendering import object_response
from upwell.server.http.target import RequestTarget
from upwell.server.objects.project_accounts import ProjectAccountWrites
from upwell.server.objects.write_options import write_options
from upwell.store.interface import NotFoundError, Store

_MAX_AUDIENCES = 8
_MAX_AUDIENCE = 256


class TokenRequestHandlers:
    """Answers requests for tokens; without `tokens`, nobody is asked for one."""

    def __init__(
        self,
        store: Store,
        accounts: ProjectAccountWrites,
        tokens: AccountTokens | None,
        limits: ServerLimits,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._tokens = tokens
        self._limits = limits

    async def create(self, request: Request, target: RequestTarget) -> Response:
        """Make a token, no longer valid and no more powerful than that of who asks."""
        body = await read_body(request, self._limits.webhook_bytes, self._limits.body_seconds)

        def checked(asked: ServiceAccountTokenRequest) -> ServiceAccountTokenRequest:
            if faults := tuple(_faults(asked.spec)):
                raise InvalidObjectError(f"{asked.KIND} of {target.key}", faults)
            return asked

        document = decode_object(body, media_type(request))
        asked = decode_and_check(ServiceAccountTokenRequest, document, checked)
        options = write_options(request)
        account = await self._accounts.kept(target, options)
        user = request.scope.get("user")
        if self._tokens is None or not isinstance(user, Principal):
            raise ApiError(405, "this server asks nobody for a token")
        if (grant := exceeding(user.grants, await self._tokens.grants_of(account))) is not None:
            raise ApiError(
                403,
                f"token {caller_of(request)} may not act as {account.key}: it has"
                f" {grant_text(grant)}, which whoever asks for its token needs too",
                key=account.key,
            )
        wanted = WantedAccountToken(
            account,
            asked.spec.audiences,
            _lifetime(asked.spec),
            await self._bound(account, asked.spec),
            user.ends,
            named_person(person_of(request)),
        )
        made = self._tokens.issue(wanted)
        request.scope[AUDIT_NOTE] = AuditNote(
            reason=f"token {made.id} of {account_name(account.namespace, account.name)}"
            f" until {made.ends.isoformat()}"
        )
        token = "" if options.dry_run else made.token
        status = TokenRequestStatus(token=token, expiration_timestamp=made.ends)
        spec = asked.spec.model_copy(
            update={
                "audiences": asked.spec.audiences or (API_AUDIENCE,),
                "expiration_seconds": int(wanted.lifetime.total_seconds()),
            }
        )
        answer = asked.model_copy(update={"spec": spec, "status": status})
        return object_response(request, answer.with_metadata(name=account.name), 201)

    async def _bound(self, account: ServiceAccount, spec: TokenRequestSpec) -> Secret | None:
        """Return the Secret that the token shall end with; raises InvalidObjectError."""
        wanted = spec.bound_object_ref
        if wanted is None:
            return None
        try:
            found = await self._store.get(Secret, account.namespace, wanted.name)
        except NotFoundError:
            found = None
        if found is None or wanted.uid not in {None, "", found.uid}:
            what = f"there is no Secret {account.namespace}/{wanted.name}"
            fault = Fault("spec.boundObjectRef", f"{what} of that uid" if found else what)
            raise InvalidObjectError(
                f"{ServiceAccountTokenRequest.KIND} of {account.key}", (fault,)
            )
        return found


def _lifetime(spec: TokenRequestSpec) -> timedelta:
    """Return how long the token shall be valid; as in Kubernetes, too long is shortened."""
    seconds = spec.expiration_seconds
    if seconds is None:
        return DEFAULT_LIFETIME
    return timedelta(seconds=min(seconds, int(LONGEST_LIFETIME.total_seconds())))


def _faults(spec: TokenRequestSpec) -> Iterator[Fault]:
    seconds, shortest = spec.expiration_seconds, int(SHORTEST_LIFETIME.total_seconds())
    if seconds is not None and seconds < shortest:
        yield Fault("spec.expirationSeconds", f"at least {shortest}")
    if len(spec.audiences) > _MAX_AUDIENCES:
        yield Fault("spec.audiences", f"at most {_MAX_AUDIENCES}")
    for at, audience in enumerate(spec.audiences):
        if not 0 < len(audience) <= _MAX_AUDIENCE:
            yield Fault(f"spec.audiences[{at}]", f"1 to {_MAX_AUDIENCE} characters")
    bound = spec.bound_object_ref
    if bound is not None and bound.kind != Secret.KIND.kind:
        message = f"{bound.kind!r} cannot be watched: bind the token to a Secret"
        yield Fault("spec.boundObjectRef.kind", message)
