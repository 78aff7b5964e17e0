"""Judge of images: by the policies that are there, at each point.

Whatever a policy says, what runs goes on: it is asked before something new begins, and never again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from upwell.api.image_policies.policy import (
    ClusterImagePolicy,
    ImagePolicy,
    ImagePolicyResource,
    PolicyPoint,
)
from upwell.api.meta import ObjectMeta
from upwell.formats.attachment_tags import image_of_tag
from upwell.oci import Digest, Reference
from upwell.policy.signatures.judgement import ImageJudgement, PolicyVerdict
from upwell.policy.signatures.scopes import JudgedImage, holds_at, is_registry, judged_image
from upwell.policy.signatures.selection import policies_for
from upwell.policy.signatures.verification import Verdict
from upwell.reconcilers.signatures.examination import (
    NO_COPIES,
    EvidenceCopies,
    ImageAccess,
    ImageExamination,
)
from upwell.reconcilers.signatures.exemptions import exemption
from upwell.reconcilers.signatures.findings import VerdictFindings
from upwell.reconcilers.signatures.questions import (
    ImagePolicyError,
    ImagePolicyUnknownError,
    ImageQuestion,
)
from upwell.reconcilers.signatures.verdicts import VerdictKey, VerdictMemory
from upwell.registry.interface import PushEvent, Registry
from upwell.registry.origins import ImageOrigins, Origin
from upwell.store.interface import Selector, Store

log = logging.getLogger(__name__)

type CountVerdict = Callable[[str, str, str], None]
"""Counts a judgement: its point, its mode, and the reason of the verdict."""


@dataclass(frozen=True, slots=True)
class InternalImages:
    """Images of the internal registry that are others' as well."""

    host: str = ""
    """Its `host:port`."""
    origins: ImageOrigins | None = None
    """Says where images come from that it has by their streams."""
    copies: EvidenceCopies = NO_COPIES


class ImagePolicies:
    """Judges images at every point; without `store` and `registry`, everything is allowed."""

    def __init__(
        self,
        store: Store | None = None,
        registry: Registry | None = None,
        access: ImageAccess | None = None,
        findings: VerdictFindings | None = None,
        *,
        internal: InternalImages = InternalImages(),
        count: CountVerdict = lambda _point, _mode, _reason: None,
    ) -> None:
        self._store = store
        self._examination = None
        if registry is not None and access is not None:
            self._examination = ImageExamination(registry, access, internal.copies)
        self._findings = findings
        self._internal = internal.host
        self._origins = internal.origins
        self._count = count
        self._memory = VerdictMemory()
        self._locks: WeakValueDictionary[tuple[str, JudgedImage], asyncio.Lock] = (
            WeakValueDictionary()
        )
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

    async def beside[T](self, question: ImageQuestion, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, and judge an image meanwhile, as it is going to be asked about.

        Nothing is recorded or raised of it; what `work` raises ends it.
        """
        ahead = asyncio.create_task(self.judge(replace(question, quiet=True)))
        try:
            return await work
        except BaseException:
            ahead.cancel()
            raise
        finally:
            await asyncio.wait([ahead])
            if not ahead.cancelled() and ahead.exception() is not None:
                log.debug("judged in vain", exc_info=ahead.exception())

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
        asked = (question.namespace, image)
        async with self._locks.setdefault(asked, asyncio.Lock()):
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
        if digest is not None and self._memory.forget_refusals(digest):
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
        """Return a verdict for each policy: from memory, or from one examination of the image."""
        found: dict[str, Verdict] = {}
        open_ones: dict[str, ImagePolicyResource] = {}
        for policy in policies:
            key = VerdictKey.of(policy, image, question.namespace)
            known = self._memory.recall(key) if question.trial is None else None
            if known is None:
                open_ones[_name(policy)] = policy
            else:
                found[_name(policy)] = known
        if not open_ones:
            return found
        if self._examination is None:
            raise RuntimeError("there are policies, and no registry to ask")
        specs = {name: policy.spec for name, policy in open_ones.items()}
        fresh = await self._examination.verdicts(
            question.reference, question.namespace, image, origin, specs
        )
        if question.trial is None:
            for name, policy in open_ones.items():
                key = VerdictKey.of(policy, image, question.namespace)
                self._memory.remember(key, fresh[name])
        return found | fresh

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
