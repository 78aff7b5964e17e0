"""The webhook by which a cluster asks about writes: its authority, and whether it is in force."""

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from upwell.api.coordination.replicas import shared_metadata
from upwell.api.core import Secret
from upwell.api.schemas.webhooks import (
    AUTHORITY_SECRET,
    MUTATING,
    VALIDATING,
    authority_of,
    configuration_fault,
    with_authority,
)
from upwell.cluster.errors import ClusterError, ClusterUnavailableError
from upwell.cluster.kubernetes import cluster_error
from upwell.cluster.kubernetes_admission import KubernetesAdmission
from upwell.machine.backoff import Backoff, asked_delay
from upwell.machine.clock import elapsed
from upwell.machine.components import WatchedComponent
from upwell.server.asgi.tls import CertificateError, SharedAuthority, load
from upwell.store.interface import AlreadyExistsError, NotFoundError, Store, StoreError

log = logging.getLogger(__name__)

_CERTIFICATE, _KEY, _BEFORE = "tls.crt", "tls.key", "previous.crt"
_KINDS = (MUTATING, VALIDATING)
_SECONDS = 10.0
_LOOKS = Backoff(first=0.5, longest=_SECONDS)
"""Between two looks while it is not in force, and nothing changes about that."""


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(frozen=True, slots=True)
class KeptAuthority:
    """Authority of all replicas' certificates, as the Secret has it."""

    authority: SharedAuthority
    bundle: str
    """By which the cluster trusts it, and the one before: PEM."""

    @classmethod
    def of(cls, secret: Secret) -> "KeptAuthority":
        """Return what a Secret holds; raises CertificateError."""
        try:
            found = {name: value.decode() for name, value in secret.decoded().items()}
            authority = SharedAuthority(found[_CERTIFICATE], found[_KEY])
        except (KeyError, ValueError) as error:
            message = f"{secret.key} holds no authority: delete it, and another one is made"
            raise CertificateError(message) from error
        return cls(authority, found[_CERTIFICATE] + found.get(_BEFORE, ""))


@dataclass
class AdmissionState:
    """Admission as this replica has seen it last."""

    id: str = ""
    """Id of the admission in force; empty: none is, and no author is believed."""
    fault: str = "nobody has looked yet"


@dataclass
class ClusterWebhook:
    """Keeps the webhook of a cluster in force; every replica answers it, the leader alone writes.

    `store` has the Secret of the authority in `namespace`; `account` is this server's own on the
    cluster, and `names` are those by which the cluster reaches it.
    """

    store: Store
    configurations: KubernetesAdmission
    account: str
    namespace: str
    folder: Path
    names: Sequence[str]
    clock: Callable[[], datetime]
    state: AdmissionState = field(default_factory=AdmissionState)
    tls: ssl.SSLContext = field(default_factory=_new_context)
    """Speaks for this replica once there is an authority."""
    elapsed: Callable[[], float] = elapsed
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    looks: Backoff = _LOOKS
    _loaded: str = ""
    _closed_until: float = -math.inf
    """Time by `elapsed` until which the API server has asked not to come back."""
    _same_faults: int = 0
    """Looks in a row that have found the same fault."""

    async def keep(self) -> None:
        """Make and renew the authority, and tell the cluster of it, until cancelled: the leader."""
        while True:
            try:
                kept = await self._kept_authority()
                await self._tell(kept.bundle)
            except (StoreError, ClusterError, CertificateError) as error:
                log.warning("webhook not kept", extra={"why": str(error)})
                self._come_back_after(error)
            await self.sleep(self._pause())

    async def watch(self, component: WatchedComponent) -> None:
        """Report whether the admission is in force, until cancelled: every replica."""
        while True:
            before = self.state.fault
            try:
                self.state.id, self.state.fault = await self._look()
            except (StoreError, ClusterError, CertificateError) as error:
                self._come_back_after(error)
                # What was seen last stays: to be cut off makes nobody an author.
                if isinstance(error, CertificateError) or not self.state.id:
                    self.state.id, self.state.fault = "", str(error)
            self._same_faults = self._same_faults + 1 if self.state.fault == before else 1
            if self.state.id:
                component.recover()
            else:
                component.fail("AdmissionNotInForce", f"{self.state.fault}; {MEANING}")
            await self.sleep(self._pause())

    async def admission(self) -> str:
        """Return the id of the admission in force; looks again while none is.

        Raises a ClusterError, and at once while the API server asks to be left alone.
        """
        if not self.state.id:
            if (seconds := self._closed_for()) > 0:
                why = f"the API server asks to come back in {seconds:.0f} s"
                raise ClusterUnavailableError(why, seconds)
            try:
                self.state.id, self.state.fault = await self._look()
            except ClusterError as error:
                self._come_back_after(error)
                raise
            except StoreError as error:
                self._come_back_after(error)
                raise cluster_error(error) from error
            except CertificateError as error:
                self.state.fault = str(error)
        return self.state.id

    async def _look(self) -> tuple[str, str]:
        """Return the id of the admission in force, or why none is."""
        try:
            secret = await self.store.get(Secret, self.namespace, AUTHORITY_SECRET)
        except NotFoundError:
            return "", f"the leader has not made Secret {self.namespace}/{AUTHORITY_SECRET} yet"
        kept = KeptAuthority.of(secret)
        await asyncio.to_thread(self._serve_by, kept.authority)
        found = {kind: await self.configurations.configuration(kind) for kind in _KINDS}
        for kind in _KINDS:
            if fault := configuration_fault(kind, found[kind], kept.bundle):
                return "", fault
        uids = [str(((found[kind] or {}).get("metadata") or {}).get("uid", "")) for kind in _KINDS]
        return ".".join(uids), ""

    def _serve_by(self, authority: SharedAuthority) -> None:
        certificate = authority.issue(self.folder, self.names, self.clock())
        present = certificate.chain.read_text()
        if present != self._loaded:
            load(self.tls, certificate)
            self._loaded = present

    async def _kept_authority(self) -> KeptAuthority:
        try:
            secret = await self.store.get(Secret, self.namespace, AUTHORITY_SECRET)
        except NotFoundError:
            return await self._created()
        kept = KeptAuthority.of(secret)
        if not kept.authority.is_due(self.clock()):
            return kept
        made = await asyncio.to_thread(SharedAuthority.new, self.clock())
        data = _data(made, kept.authority.certificate)
        return KeptAuthority.of(await self.store.update(secret.model_copy(update={"data": data})))

    async def _created(self) -> KeptAuthority:
        made = await asyncio.to_thread(SharedAuthority.new, self.clock())
        meta = shared_metadata(self.namespace, AUTHORITY_SECRET)
        secret = Secret(metadata=meta, type="kubernetes.io/tls", data=_data(made))
        try:
            return KeptAuthority.of(await self.store.create(secret))
        except AlreadyExistsError:
            return KeptAuthority.of(await self.store.get(Secret, self.namespace, AUTHORITY_SECRET))

    async def _tell(self, bundle: str) -> None:
        """Write the authority into the configurations that have another."""
        for kind in _KINDS:
            found = await self.configurations.configuration(kind)
            webhooks = found.get("webhooks") if found is not None else None
            if found is not None and any(authority_of(one) != bundle for one in webhooks or ()):
                await self.configurations.replace(kind, with_authority(found, bundle))

    def _come_back_after(self, error: Exception) -> None:
        """Leave the API server alone for as long as it asks for (RFC 9110, Retry-After)."""
        self._closed_until = max(self._closed_until, self.elapsed() + asked_delay(error))

    def _closed_for(self) -> float:
        return self._closed_until - self.elapsed()

    def _pause(self) -> float:
        due = _SECONDS if self.state.id else self.looks.delay(max(self._same_faults, 1))
        return max(due, self._closed_for())


MEANING = (
    "authors of objects are not believed meanwhile, and each object may do what its namespace may"
    " (docs/kubernetes.md, Admission)"
)


def _data(authority: SharedAuthority, before: str = "") -> dict[str, str]:
    texts = {_CERTIFICATE: authority.certificate, _KEY: authority.key, _BEFORE: before}
    return Secret.encode_values({name: text.encode() for name, text in texts.items() if text})
