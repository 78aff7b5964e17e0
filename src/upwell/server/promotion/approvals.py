"""/approvals/TOKEN: a page on which somebody without a token of their own votes on one Promotion.

Looking at the page changes nothing: mail programs open links by themselves.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.actions.promotion import PromotionActions
from upwell.api.promotion import ApprovalLink, Promotion, Vote
from upwell.policy.promotion.approval import opened_link
from upwell.policy.promotion.requests import RefusedError
from upwell.server.auth.principals import Principal
from upwell.server.auth.request_info import AUDIT_NOTE, AuditNote
from upwell.server.auth.signatures import Signatures
from upwell.server.auth.tokens import ADMIN, person_behind
from upwell.server.http.errors import ApiError
from upwell.server.http.forms import read_form
from upwell.server.http.html import SECURITY_HEADERS, message_page
from upwell.server.http.limits import ServerLimits
from upwell.server.promotion.approvals_page import ApprovalView, vote_page
from upwell.server.signin.pages import SignInPages
from upwell.store.interface import NotFoundError, Store, StoreError

_PURPOSE = "approval"
_PLACE = "/approvals/"
_MAX_FORM_BYTES = 16 * 1024
_MAX_COMMENT = 2000


class ApprovalLinks:
    """Makes links, and opens them: each for one Promotion, one person and some time."""

    def __init__(
        self, signatures: Signatures, clock: Callable[[], datetime], url: str = ""
    ) -> None:
        """`url` is where browsers reach the server; empty: where whoever makes a link does."""
        self._signatures = signatures
        self._clock = clock
        self._url = url

    def places(self, promotion: Promotion, link: ApprovalLink) -> Mapping[str, str]:
        """Return the `path` of a link, and its `url` where one is known, for an answer."""
        path = self.path(promotion, link)
        return {"path": path, **({"url": f"{self._url}{path}"} if self._url else {})}

    def path(self, promotion: Promotion, link: ApprovalLink) -> str:
        """Return the path of a link that works until its end, if it is not revoked before."""
        end = int(link.expires.timestamp())
        key = (promotion.namespace, promotion.name, promotion.uid)
        claims = (*key, link.person, end, link.id)
        return f"{_PLACE}{self._signatures.sign(_PURPOSE, claims)}"

    def open(self, token: str) -> tuple[str, str, str, str, str]:
        """Return namespace, name and uid of the Promotion, the person, and the link's id.

        Raises ApiError 403.
        """
        match self._signatures.open(_PURPOSE, token):
            case [str(namespace), str(name), str(uid), str(person), int(end), str(link)]:
                if end <= self._clock().timestamp():
                    raise ApiError(403, "This link has expired: ask for a new one.")
                return namespace, name, uid, person, link
            case [str(), str(), str(), str(), int()]:
                raise ApiError(403, "This link was made by an earlier version: ask for a new one.")
            case _:
                raise ApiError(403, "This link is truncated, altered, or of another server.")


class ApprovalHandlers:
    """Answers a browser that follows a link."""

    def __init__(
        self,
        store: Store,
        actions: PromotionActions,
        links: ApprovalLinks,
        limits: ServerLimits,
        clock: Callable[[], datetime],
        sign_in: SignInPages | None = None,
    ) -> None:
        self._store = store
        self._actions = actions
        self._sign_in = sign_in
        self._links = links
        self._limits = limits
        self._clock = clock

    def routes(self) -> list[BaseRoute]:
        """Return the route."""
        return [Route(f"{_PLACE}{{token}}", self.answer, methods=["GET", "POST"])]

    async def answer(self, request: Request) -> Response:
        """Answer the page; a vote is taken first."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return _page(message_page(str(error)), error.code)
        except RefusedError as error:
            return _page(message_page(f"{error}."), 409)
        except StoreError as error:
            code = 404 if isinstance(error, NotFoundError) else 503
            return _page(message_page(f"{error}."), code)

    async def _answer(self, request: Request) -> Response:
        namespace, name, uid, person, opened = self._links.open(request.path_params["token"])
        person = await person_behind(self._store, person)  # a token may have got one since
        promotion = await self._store.get(Promotion, namespace, name)
        if promotion.uid != uid:
            raise ApiError(404, "The promotion that this link is for does not exist any more.")
        link = opened_link(promotion.status.links, opened)
        if link is None:
            raise ApiError(403, "This link was revoked: ask for a new one.")
        shown = await self._identified(request, person)
        if isinstance(shown, Response):
            return shown
        if request.method == "POST":
            request.scope[AUDIT_NOTE] = AuditNote(name, namespace, person)
            vote = _attributed(
                await self._vote(request, person),
                shown,
                await person_behind(self._store, link.by),
            )
            request.scope[AUDIT_NOTE] = AuditNote(name, namespace, person, vote.comment)
            promotion = await self._actions.vote(namespace, name, vote)
        pipeline, stage = await self._actions.stage_of(promotion)
        known = await self._actions.known(namespace, pipeline.name)
        return _page(vote_page(ApprovalView(known, stage, promotion, person)))

    async def _identified(self, request: Request, person: str) -> Principal | Response | None:
        """Have a person who can sign in show that they are the one whom a link is for.

        Return them, or the answer that sends their browser to do so; None for who cannot. Raises
        ApiError for somebody else.
        """
        if self._sign_in is None or not self._sign_in.knows(person):
            return None
        found = await self._sign_in.principal(request, request.url.path)
        if isinstance(found, Response):
            if request.method == "POST":
                raise ApiError(403, "Your session has ended: open the link again.")
            return found
        if found.username != person:
            raise ApiError(
                403, f"This link is for {person}, and you are signed in as {found.username}."
            )
        return found

    async def _vote(self, request: Request, person: str) -> Vote:
        form = await read_form(request, _MAX_FORM_BYTES, self._limits.body_seconds)
        decision = form.get("decision", "")
        if decision not in {"approve", "reject"}:
            raise ApiError(400, "Choose one of the two buttons.")
        comment = form.get("comment", "").strip()[:_MAX_COMMENT]
        return Vote(by=person, approved=decision == "approve", at=self._clock(), comment=comment)


def _attributed(vote: Vote, shown: Principal | None, maker: str) -> Vote:
    """Return a vote with the groups of whoever has shown that it is theirs.

    Else it may be that of whoever has made the link, who answers for it: all but the server's own
    user, who may do everything anyway.
    """
    if shown is not None:
        return vote.model_copy(update={"groups": shown.groups})
    return vote.model_copy(update={"link_by": "" if maker == ADMIN else maker})


def _page(html: str, code: int = 200) -> Response:
    return HTMLResponse(html, code, SECURITY_HEADERS)
