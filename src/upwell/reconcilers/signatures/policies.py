"""Judge of images: by the policies that are there, remembered for each digest and policy.

Whatever a policy says, what runs goes on: it is asked before something new begins, and never again.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from upwell.api.image_policies.policy import (
    ClusterImagePolicy,
    ImagePolicy,
    ImagePolicyResource,
    ImagePolicySpec,
    PolicyPoint,
)
from upwell.api.meta import ObjectMeta
from upwell.formats.sigstore import image_of_tag
from upwell.machine.backoff import Backoff
from upwell.oci import Digest, Reference
from upwell.policy.signatures.judgement import (
    NOT_CHECKED,
    NOT_SATISFIED,
    ImageJudgement,
    PolicyVerdict,
)
from upwell.policy.signatures.scopes import JudgedImage, holds_at, is_registry, judged_image
from upwell.policy.signatures.selection import policies_for
from upwell.policy.signatures.verification import (
    Verdict,
    VerdictReason,
    verify,
)
from upwell.reconcilers.signatures.evidence import EvidenceReader
from upwell.reconcilers.signatures.exemptions import exemption
from upwell.reconcilers.signatures.findings import FindingRecorder
from upwell.registry.errors import RegistryError
from upwell.registry.interface import PushEvent, Registry, RequestAccess
from upwell.registry.origins import ImageOrigins, Origin
from upwell.store.interface import Selector, Store

log = logging.getLogger(__name__)

_MAX_KNOWN = 10_000
_LONGEST = 60.0
"""Seconds in which the evidence about one image has to be here."""
_AT_ONCE = 4
"""Images whose evidence is read at a time."""

type ImageAccess = Callable[[Reference, str], Awaitable[RequestAccess]]
"""Returns the access to an image on behalf of a namespace."""
type CountVerdict = Callable[[str, str, str], None]
"""Counts a judgement: its point, its mode, and the reason of the verdict."""


class ImagePolicyError(RegistryError):
    """An image does not satisfy a policy that is enforced; a signature may come later."""

    reason = NOT_SATISFIED
    retryable = True

    def __init__(self, judgement: ImageJudgement) -> None:
        super().__init__(judgement.refusal)
        self.judgement = judgement


class ImagePolicyUnknownError(ImagePolicyError):
    """It is not known whether an image satisfies a policy: its registry does not answer."""

    reason = NOT_CHECKED


POLICY_REASONS = frozenset({ImagePolicyError.reason, ImagePolicyUnknownError.reason})
"""Reasons of whatever waits for an image to satisfy a policy."""


@dataclass(frozen=True, slots=True)
class ImageQuestion:
    """May this image be used at a point, for a namespace?"""

    reference: Reference
    """With its digest."""
    namespace: str
    point: PolicyPoint
    stage: str = ""
    """Stage of a promotion."""
    trial: ImagePolicySpec | None = None
    """Policy to try in place of those that are there; nothing is remembered."""
    quiet: bool = False
    """True for a question of a person: nothing is counted or recorded."""


@dataclass(frozen=True, slots=True)
class _VerdictKey:
    """A policy as it is, an image, and on whose behalf it was looked at."""

    policy: str
    generation: int
    image: JudgedImage
    namespace: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A verdict, and the time (of the loop) until which it stands; None: for good."""

    verdict: Verdict
    until: float | None
    failures: int = 0


class ImagePolicies:
    """Judges images at every point; without `store` and `registry`, everything is allowed.

    `internal` is the `host:port` of the embedded registry, `origins` says where images come from
    that it has by their streams.
    """

    def __init__(
        self,
        store: Store | None = None,
        registry: Registry | None = None,
        access: ImageAccess | None = None,
        findings: FindingRecorder | None = None,
        *,
        internal: str = "",
        origins: ImageOrigins | None = None,
        count: CountVerdict = lambda _point, _mode, _reason: None,
    ) -> None:
        self._store = store
        self._evidence = EvidenceReader(registry) if registry is not None else None
        self._access = access
        self._findings = findings
        self._internal = internal
        self._origins = origins
        self._count = count
        self._known: OrderedDict[_VerdictKey, _Known] = OrderedDict()
        self._locks: WeakValueDictionary[JudgedImage, asyncio.Lock] = WeakValueDictionary()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._backoff = Backoff(first=2.0, longest=300.0)
        self.on_signed: list[Callable[[], None]] = []
        """Called when an image that was kept out has been signed: it may be asked for again."""

    async def require(self, question: ImageQuestion) -> Sequence[str]:
        """Return what policies that only warn say; raises ImagePolicyError if one refuses."""
        judgement = await self.judge(question)
        if not judgement.allowed:
            if why := await self._exemption(question):
                log.warning("image let past a policy", extra={"image": str(judgement.image)})
                return (f"{judgement.refusal}; {why}",)
            if judgement.is_open:
                raise ImagePolicyUnknownError(judgement)
            raise ImagePolicyError(judgement)
        warnings = tuple(judgement.warnings())
        for warning in warnings:
            log.warning("image policy not satisfied", extra={"warning": warning})
        return warnings

    async def judge(self, question: ImageQuestion) -> ImageJudgement:
        """Judge an image by every policy that is about it at this point."""
        digest = question.reference.digest
        if digest is None:
            raise ValueError(f"{question.reference} has no digest")
        image = judged_image(question.reference, digest, self._internal)
        stored = await self._asked(question)
        if not stored:
            return ImageJudgement(image)
        origin = await self._origin(question.reference, digest)
        if origin is not None:
            image = judged_image(question.reference, digest, self._internal, origin.reference)
        policies = policies_for(stored, image, question.namespace, question.point, question.stage)
        if not policies:
            return ImageJudgement(image)
        async with self._locks.setdefault(image, asyncio.Lock()):
            verdicts = await self._verdicts(question, image, policies, origin)
        judged = [PolicyVerdict(one, verdicts[_name(one)]) for one in policies]
        if not question.quiet:
            await self._tell(question, image, judged)
        return ImageJudgement(image, judged)

    async def _exemption(self, question: ImageQuestion) -> str:
        """Return why a rollout goes past policies; empty: it does not."""
        if self._store is None or question.point is not PolicyPoint.ROLLOUT:
            return ""
        return await exemption(self._store, question.namespace, str(question.reference.digest))

    async def judges(self, namespace: str, point: PolicyPoint, stage: str = "") -> bool:
        """Return True if a policy judges images at this point, whether it refuses any or not."""
        stored = await self._stored(namespace)
        return any(holds_at(one.spec.enforcement, point, stage) for one in stored)

    def note_push(self, event: PushEvent) -> None:
        """Take in that the internal registry has a new tag: it may be a signature."""
        self.note_signed(event.tag)

    def note_signed(self, tag: str) -> None:
        """Forget that an image was kept out, if `tag` names its signatures or attestations."""
        digest = image_of_tag(tag)
        if digest is None:
            return
        stale = [
            key
            for key, known in self._known.items()
            if key.image.digest == digest and known.until is not None
        ]
        for key in stale:
            del self._known[key]
        if stale:
            for wake in self.on_signed:
                wake()

    async def _asked(self, question: ImageQuestion) -> Sequence[ImagePolicyResource]:
        """Return the policies that a question is about."""
        if question.trial is not None:
            meta = ObjectMeta(name="trial", namespace=question.namespace)
            return (ImagePolicy(metadata=meta, spec=question.trial),)
        return await self._stored(question.namespace)

    async def _origin(self, reference: Reference, digest: Digest) -> Origin | None:
        """Return where an image comes from that the internal registry has by its stream."""
        if self._origins is None or not is_registry(reference, self._internal):
            return None
        found = await self._origins.find(reference.repository, digest)
        return found if found is not None and found.reference.name != reference.name else None

    async def _stored(self, namespace: str) -> Sequence[ImagePolicyResource]:
        """Return the policies of the cluster and of a namespace, as the store has them now.

        No cache: one that was written before this question was asked counts.
        """
        if self._store is None:
            return ()
        everywhere = (await self._store.list(ClusterImagePolicy)).items
        here = (await self._store.list(ImagePolicy, Selector(namespace))).items
        return (*everywhere, *here)

    async def _verdicts(
        self,
        question: ImageQuestion,
        image: JudgedImage,
        policies: Sequence[ImagePolicyResource],
        origin: Origin | None,
    ) -> dict[str, Verdict]:
        """Return a verdict for each policy: from memory, or from one reading of the evidence."""
        found: dict[str, Verdict] = {}
        open_ones = []
        for policy in policies:
            known = self._recall(_key(policy, image, question)) if question.trial is None else None
            if known is None:
                open_ones.append(policy)
            else:
                found[_name(policy)] = known
        if open_ones:
            fresh = await self._examine(question, image, open_ones, origin)
            for policy in open_ones:
                verdict = found[_name(policy)] = fresh[_name(policy)]
                if question.trial is None:
                    self._remember(_key(policy, image, question), verdict)
        return found

    async def _examine(
        self,
        question: ImageQuestion,
        image: JudgedImage,
        policies: Sequence[ImagePolicyResource],
        origin: Origin | None,
    ) -> dict[str, Verdict]:
        """Read the evidence about an image once, and have it verified off the event loop."""
        predicates = frozenset(
            one.predicate_type for policy in policies for one in policy.spec.attestations
        )
        if self._evidence is None or self._access is None:
            raise RuntimeError("there are policies, and no registry to ask")
        try:
            async with self._turns, asyncio.timeout(_LONGEST):
                access = await self._access(question.reference, question.namespace)
                evidence = await self._evidence.read(
                    question.reference, image.digest, predicates, access
                )
                if origin is not None:
                    evidence += await self._evidence.read(
                        origin.reference, image.digest, predicates, origin.access
                    )
        except (RegistryError, TimeoutError) as error:
            why = str(error) or f"no answer within {_LONGEST:g} s"
            unknown = Verdict(VerdictReason.UNKNOWN, f"it cannot be checked: {why}")
            return {_name(policy): unknown for policy in policies}
        return await asyncio.to_thread(
            lambda: {_name(one): verify(one.spec, image, evidence) for one in policies}
        )

    def _recall(self, key: _VerdictKey) -> Verdict | None:
        known = self._known.get(key)
        if known is None:
            return None
        if known.until is not None and known.until <= asyncio.get_running_loop().time():
            return None
        self._known.move_to_end(key)
        return known.verdict

    def _remember(self, key: _VerdictKey, verdict: Verdict) -> None:
        """Keep a verdict: a good one for good, as a policy that changes is another one."""
        before = self._known.pop(key, None)
        failures, until = 0, None
        if not verdict.passed:
            failures = (before.failures if before is not None else 0) + 1
            until = asyncio.get_running_loop().time() + self._backoff.delay(failures)
        self._known[key] = _Known(verdict, until, failures)
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    async def _tell(
        self, question: ImageQuestion, image: JudgedImage, judged: Sequence[PolicyVerdict]
    ) -> None:
        for one in judged:
            mode = one.answer().mode
            self._count(question.point.value, mode, one.verdict.reason.value)
            if self._findings is not None:
                await self._findings.record(one, str(image), question.point, question.namespace)


UNRESTRICTED = ImagePolicies()
"""Allows every image: where there are no policies."""


def _name(policy: ImagePolicyResource) -> str:
    return f"{policy.KIND.kind}/{policy.namespace}/{policy.name}"


def _key(policy: ImagePolicyResource, image: JudgedImage, question: ImageQuestion) -> _VerdictKey:
    return _VerdictKey(policy.uid, policy.generation, image, question.namespace)
