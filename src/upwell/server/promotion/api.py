"""API of promotions: subresources of objects, and paths opened by signed tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from starlette.routing import BaseRoute

from upwell.actions.promotion import PromotionActions
from upwell.server.auth.signatures import Signatures
from upwell.server.http.limits import ServerLimits
from upwell.server.objects.objects import Handler
from upwell.server.promotion.approvals import ApprovalHandlers, ApprovalLinks
from upwell.server.promotion.evidence import KeptEvidence
from upwell.server.promotion.handlers import PromotionHandlers
from upwell.server.promotion.verdicts import VerdictHandlers, VerdictTokens
from upwell.server.signin.pages import SignInPages
from upwell.store.interface import Store
from upwell.uploads.interface import BinaryInputs


@dataclass(frozen=True, slots=True)
class SignedLinks:
    """Parts of the links by which somebody without a token votes, or tells a verdict."""

    signatures: Signatures
    url: str = ""
    """The URL at which browsers reach the server; empty: the one that a client has."""


class PromotionApi:
    """Wires the handlers of promotions."""

    def __init__(
        self,
        store: Store,
        actions: PromotionActions,
        evidence: BinaryInputs | None,
        signed: SignedLinks,
        limits: ServerLimits,
        clock: Callable[[], datetime],
        sign_in: SignInPages | None = None,
    ) -> None:
        kept = KeptEvidence(store, evidence)
        links = ApprovalLinks(signed.signatures, clock, signed.url)
        self._evidence = kept
        self._promotions = PromotionHandlers(store, actions, kept, links, limits, clock)
        self._approvals = ApprovalHandlers(store, actions, links, limits, clock, sign_in)
        tokens = VerdictTokens(signed.signatures)
        self._verdicts = VerdictHandlers(store, actions, tokens, kept, limits, clock)

    def routes(self) -> list[BaseRoute]:
        """Return the paths that need no token but the one in them."""
        return [*self._verdicts.routes(), *self._approvals.routes()]

    def parts(self) -> Mapping[tuple[str, str], Mapping[str, Handler]]:
        """Return the parts of objects, by plural and name, then by HTTP method."""
        promotions, evidence = self._promotions, self._evidence
        return {
            ("releases", "promote"): {"POST": promotions.promote},
            ("releases", "reject"): {"POST": promotions.reject_release},
            ("releases", "restore"): {"POST": promotions.restore_release},
            ("releases", "verify"): {"POST": promotions.verify},
            ("releases", "evidence"): {"POST": evidence.upload},
            ("pipelines", "rollback"): {"POST": promotions.roll_back},
            ("pipelines", "verify"): {"POST": promotions.verify_again},
            ("promotions", "approve"): {"POST": promotions.approve},
            ("promotions", "reject"): {"POST": promotions.reject},
            ("promotions", "links"): {"POST": promotions.link, "DELETE": promotions.revoke_links},
            ("promotions", "evidence"): {"GET": evidence.download},
        }
