"""Ports, actions and settings that the server is made with."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from starlette.routing import BaseRoute

from upwell.actions.catalog import Actions
from upwell.audit.keeping import ReadableAudit
from upwell.builder.interface import BuildLogs
from upwell.machine.components import Components
from upwell.server.asgi.connections import ConnectionTable
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.signatures import Signatures, new_signatures
from upwell.server.builds.leader_logs import LeaderReplica
from upwell.server.exchange.exchange import TokenExchange
from upwell.server.http.hosts import HostNames
from upwell.server.http.limits import DEFAULT_LIMITS, ServerLimits
from upwell.server.metrics.metrics import Gauges, Metrics
from upwell.server.signin.services import SignIn
from upwell.server.signing.image_signing_keys import ImageSigningKeys
from upwell.store.interface import Store, StoreKeys
from upwell.uploads.interface import BinaryInputs
from upwell.workload.interface import InteractiveRuntime


@dataclass(frozen=True, slots=True)
class ServerDependencies:
    """Ports, actions and settings that the server is made with."""

    store: Store
    """For clients: where nobody else limits what they create, it is counted."""
    build_logs: BuildLogs
    actions: Actions
    clock: Callable[[], datetime]
    """The time in UTC."""
    shutdown: asyncio.Event
    """Set it to end watches and followed logs, before the HTTP server waits for its answers."""
    version: str
    plain: bool = False
    """True where the port answers without TLS too."""
    runtime: InteractiveRuntime | None = None
    inputs: BinaryInputs | None = None
    """Uploads for builds; None: none are taken."""
    store_keys: StoreKeys | None = None
    """Keys of the store; None: it keeps nothing on disk."""
    signing_keys: ImageSigningKeys | None = None
    """Keys that sign images; None: nothing is signed."""
    evidence: BinaryInputs | None = None
    """Store of the evidence of promotions; None: none is kept."""
    signatures: Signatures = field(default_factory=new_signatures)
    """Of verdicts' and approvals' tokens; the default's do not outlive the process."""
    registry_routes: Sequence[BaseRoute] = ()
    limits: ServerLimits = field(default=DEFAULT_LIMITS)
    metrics: Metrics = field(default_factory=Metrics)
    gauges: Gauges | None = None
    """Gauges of other parts, beside those of the objects."""
    components: Components = field(default_factory=Components)
    """State of what the server starts or stands on, for readiness and metrics."""
    role: Callable[[], str] | None = None
    """Says what this replica does among others; None: it is the only process."""
    leader: LeaderReplica | None = None
    """The replica that leads; None: this is the only process."""
    hosts: HostNames = field(default_factory=HostNames)
    """Names that the server answers to."""
    connections: ConnectionTable = field(default_factory=ConnectionTable)
    """Connections that are open, for metrics."""
    sign_in: SignIn | None = None
    """Sign-in of people; None: there is none."""
    url: str = ""
    """The URL at which browsers reach the server; empty: the one that a client has."""
    access: AccessControl | None = None
    """None lets everyone do everything: for tests."""
    audit: ReadableAudit | None = None
    """Audit logs of all replicas; None: there is but this one's, in its folder."""
    token_exchange: TokenExchange | None = None
    """Exchange of tokens of foreign issuers; None: there is none."""
