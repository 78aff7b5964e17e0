"""The ASGI application: objects under /api and /apis, their parts, discovery, webhooks, health."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.metrics_core import Metric
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from upwell.actions.catalog import Actions
from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.builds.build import Build
from upwell.api.codec import RESOURCES
from upwell.api.core import ServiceAccount
from upwell.audit.keeping import ReadableAudit
from upwell.builder.interface import BuildLogs
from upwell.machine.clock import elapsed, seconds
from upwell.machine.components import Components
from upwell.machine.tasks import first_error
from upwell.server.asgi.access_log import AccessLogMiddleware
from upwell.server.asgi.connections import ConnectionTable
from upwell.server.auth import admin_token, audit_logs, passwords
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.middleware import AuthMiddleware
from upwell.server.auth.signatures import Signatures, new_signatures
from upwell.server.builds import webhooks as build_webhooks
from upwell.server.builds.builds import BuildHandlers
from upwell.server.builds.cancellation import BuildCancellation
from upwell.server.builds.leader_logs import LeaderLogs, LeaderReplica
from upwell.server.builds.uploads import UploadHandlers
from upwell.server.encryption import encryptions
from upwell.server.exchange import registry_tokens
from upwell.server.exchange import routes as token_exchange
from upwell.server.exchange.exchange import TokenExchange
from upwell.server.http.errors import ERROR_HANDLERS, ApiError
from upwell.server.http.hosts import HostNames
from upwell.server.http.limits import DEFAULT_LIMITS, ServerLimits
from upwell.server.http.streaming import OpenStreams
from upwell.server.http.target import RequestTarget, parse_target
from upwell.server.images import webhooks
from upwell.server.images.base_search import BaseSearchHandlers
from upwell.server.images.checked_streams import CheckedStreams
from upwell.server.images.image_policies import ImagePolicyReviewHandlers
from upwell.server.images.images import ImageHandlers
from upwell.server.images.imports import ImageImportHandlers
from upwell.server.images.mappings import ImageMappingHandlers
from upwell.server.images.tags import StreamTagHandlers
from upwell.server.metrics import health, metrics
from upwell.server.metrics.gauges import StateGauges, component_metrics, connection_metrics
from upwell.server.metrics.metrics import Gauges, Measured, Metrics
from upwell.server.notifications import subscriptions
from upwell.server.objects import discovery
from upwell.server.objects.large_work import seat_large_work
from upwell.server.objects.objects import Handler, ObjectHandlers
from upwell.server.objects.project_accounts import ProjectAccounts, ProjectAccountWrites
from upwell.server.objects.projects import ProjectHandlers
from upwell.server.objects.reads import ReadHandlers
from upwell.server.objects.reviews import ReviewHandlers
from upwell.server.objects.templates import TemplateHandlers
from upwell.server.objects.token_requests import TokenRequestHandlers
from upwell.server.objects.watches import Watches
from upwell.server.objects.writes import DEFAULT_NAMESPACE, Writer, ensure_namespace
from upwell.server.promotion.api import PromotionApi, SignedLinks
from upwell.server.pruning import prunes
from upwell.server.signin.device import DeviceHandlers
from upwell.server.signin.pages import SignInPages
from upwell.server.signin.services import SignIn
from upwell.server.signing import image_signing_keys
from upwell.server.signing.image_signing_keys import ImageSigningKeys
from upwell.server.waves import handlers as waves
from upwell.server.waves.plans import ImpactPlanHandlers
from upwell.server.workloads.pod_api import PodApi
from upwell.server.workloads.replica_sets import replica_sets_of
from upwell.server.workloads.replication_controllers import (
    ReplicationControllerHandlers,
    controllers_of,
)
from upwell.server.workloads.revisions import RevisionReader
from upwell.server.workloads.running import RunningWorkloadHandlers
from upwell.server.workloads.workloads import WorkloadHandlers
from upwell.store.interface import Store, StoreKeys
from upwell.uploads.interface import BinaryInputs
from upwell.workload.interface import InteractiveRuntime

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_WORKLOADS = ("deployments", "deploymentconfigs", "statefulsets", "daemonsets")
_SCALED = ("deployments", "deploymentconfigs", "statefulsets")
_COLLECTION, _OBJECT, _STATUS = "(collection)", "(object)", "status"

type _Handlers = Mapping[str, Handler]
"""By HTTP method."""


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


def create_app(deps: ServerDependencies) -> Starlette:
    """Return the application."""
    streams = OpenStreams(deps.limits.watches, deps.shutdown)
    pages = SignInPages(deps.sign_in) if deps.sign_in is not None else None
    promotions = PromotionApi(
        deps.store,
        deps.actions.promotions,
        deps.evidence,
        SignedLinks(deps.signatures, deps.url),
        deps.limits,
        deps.clock,
        pages,
    )
    pods = PodApi(deps.store, deps.runtime, streams, deps.limits, deps.clock)
    api = _Api(deps, streams, promotions, pods)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        await ensure_namespace(deps.store, DEFAULT_NAMESPACE)
        following = asyncio.create_task(pods.run())
        yield
        following.cancel()
        await asyncio.wait({following})

    app = Starlette(
        routes=[
            *health.create_routes(deps.store, streams, deps.components, deps.role),
            *metrics.create_routes(deps.metrics, _gauges(deps, streams)),
            *discovery.create_routes(api.subresources(), deps.version),
            *build_webhooks.create_routes(deps.store, deps.actions.builds, deps.limits),
            *admin_token.create_routes(
                deps.access.rotate_admin if deps.access else None, deps.limits
            ),
            *passwords.create_routes(plain=deps.plain),
            *token_exchange.create_routes(deps.token_exchange, deps.store, deps.limits, elapsed),
            *(DeviceHandlers(deps.sign_in).routes() if deps.sign_in is not None else ()),
            *(pages.routes() if pages is not None else ()),
            *encryptions.create_routes(deps.store_keys, deps.limits),
            *image_signing_keys.create_routes(deps.signing_keys, deps.limits),
            *audit_logs.create_routes(deps.audit),
            *prunes.create_routes(deps.actions.pruning, deps.limits),
            *promotions.routes(),
            *api.replica_routes,
            Route("/api/{version}/{path:path}", api.answer, methods=_METHODS),
            Route("/apis/{group}/{version}/{path:path}", api.answer, methods=_METHODS),
            WebSocketRoute("/api/{version}/{path:path}", pods.answer),
            WebSocketRoute("/apis/{group}/{version}/{path:path}", pods.answer),
            *webhooks.create_routes(deps.actions.images, deps.limits),
            *registry_tokens.create_routes(deps.access),
            *deps.registry_routes,
        ],
        middleware=_middleware(deps),
        exception_handlers=dict(ERROR_HANDLERS),
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    seat_large_work(app, deps.limits)
    return app


def _middleware(deps: ServerDependencies) -> list[Middleware]:
    """Return what stands around the application, the outermost first."""
    around = [
        Middleware(AccessLogMiddleware, header_bytes=deps.limits.header_bytes, hosts=deps.hosts),
        Middleware(Measured, metrics=deps.metrics),
    ]
    if deps.access is not None:
        admission = Middleware(
            AuthMiddleware, access=deps.access, limits=deps.limits, shutdown=deps.shutdown
        )
        around.append(admission)
    return around


def _gauges(deps: ServerDependencies, streams: OpenStreams) -> list[Gauges]:
    async def components() -> Sequence[Metric]:
        return component_metrics(deps.components.states())

    async def connections() -> Sequence[Metric]:
        return connection_metrics(deps.connections.count, deps.connections.refused)

    state: Gauges = StateGauges(deps.store, streams, deps.clock)
    others = [] if deps.gauges is None else [deps.gauges]
    return [state, components, connections, *others]


class _Api:
    """Finds the handler of a request below /api and /apis."""

    def __init__(
        self,
        deps: ServerDependencies,
        streams: OpenStreams,
        promotions: PromotionApi,
        pods: PodApi,
    ) -> None:
        actions = deps.actions
        watches = Watches(deps.store, streams, deps.limits, deps.clock)
        checked = CheckedStreams(deps.store, actions.images.as_checked)
        self._reads = ReadHandlers(checked, watches, deps.clock)
        cancellation = BuildCancellation(deps.store, actions.builds)
        project_accounts = ProjectAccounts(deps.store)
        first_writes = ProjectAccountWrites(project_accounts, Writer(deps.store, deps.clock))
        self._objects = ObjectHandlers(
            deps.store,
            self._reads,
            deps.limits,
            deps.clock,
            {Build: cancellation.carried_out, ServiceAccount: first_writes.create},
        )
        tags = StreamTagHandlers(deps.store, actions.images, deps.limits, deps.clock)
        mappings = ImageMappingHandlers(deps.store, actions.images, actions.examiner, deps.limits)
        reviews, templates = ReviewHandlers(deps.limits, deps.access), TemplateHandlers(deps.limits)
        imports = ImageImportHandlers(deps.store, actions.examiner, deps.limits, deps.clock)
        policies = ImagePolicyReviewHandlers(actions.examiner, deps.limits)
        plans = ImpactPlanHandlers(actions.plans, deps.limits)
        bases = BaseSearchHandlers(actions.bases, deps.limits)
        running = RunningWorkloadHandlers(actions.running, deps.clock)
        leader = None
        if deps.leader is not None:
            leader = LeaderLogs(deps.leader, deps.signatures, seconds)
        builds = BuildHandlers(
            deps.store, deps.build_logs, actions.builds, streams, deps.limits, leader
        )
        self.replica_routes = builds.replica_routes()
        uploads = UploadHandlers(deps.store, deps.inputs, actions.builds)
        images = ImageHandlers(deps.store, actions.images, self._reads)
        sets = RevisionReader(deps.store, Deployment, replica_sets_of)
        controllers = RevisionReader(deps.store, DeploymentConfig, controllers_of)
        set_reads, controller_reads, account_reads = (
            ReadHandlers(reader, Watches(reader, streams, deps.limits, deps.clock), deps.clock)
            for reader in (sets, controllers, project_accounts)
        )
        controller_writes = ReplicationControllerHandlers(
            controllers, actions.rollouts, deps.limits
        )
        workloads = WorkloadHandlers(
            deps.store, pods.instances, actions.rollouts, streams, deps.limits, deps.clock
        )
        accounts = deps.access.tokens.accounts if deps.access else None
        token_requests = TokenRequestHandlers(deps.store, first_writes, accounts, deps.limits)
        projects = ProjectHandlers(deps.store, self._objects, streams, deps.limits, deps.clock)
        scale: _Handlers = {
            "GET": self._objects.get_scale,
            "PUT": self._objects.replace_scale,
            "PATCH": self._objects.patch_scale,
        }
        self._views: Mapping[tuple[str, str], _Handlers] = {
            ("projects", _COLLECTION): {"GET": projects.list, "POST": projects.create},
            ("projects", _OBJECT): {"GET": projects.get, "DELETE": projects.delete},
            ("projectrequests", _COLLECTION): {"GET": projects.may_ask, "POST": projects.ask},
            ("projectrequests", _OBJECT): {},
            ("serviceaccounts", _COLLECTION): {
                "GET": account_reads.list,
                "POST": self._objects.create,
                "DELETE": self._objects.delete_collection,
            },
            ("serviceaccounts", _OBJECT): {
                "GET": account_reads.get,
                "PUT": self._objects.replace,
                "PATCH": self._objects.patch,
                "DELETE": first_writes.delete(self._objects.delete),
            },
            ("images", _OBJECT): {**self._of_objects(), "GET": images.get},
            ("imagestreamtags", _COLLECTION): {"GET": tags.list, "POST": tags.create},
            ("imagestreamtags", _OBJECT): {
                "GET": tags.get,
                "PUT": tags.replace,
                "PATCH": tags.patch,
                "DELETE": tags.delete,
            },
            ("imagestreamimages", _COLLECTION): {},
            ("imagestreamimages", _OBJECT): {"GET": tags.get_image},
            ("imagestreammappings", _COLLECTION): {"POST": mappings.create},
            ("imagestreammappings", _OBJECT): {},
            ("imagestreamimports", _COLLECTION): {"POST": imports.create},
            ("imagestreamimports", _OBJECT): {},
            ("imagepolicyreviews", _COLLECTION): {"POST": policies.create},
            ("imagepolicyreviews", _OBJECT): {},
            ("impactplans", _COLLECTION): {"POST": plans.create},
            ("impactplans", _OBJECT): {},
            ("basesearches", _COLLECTION): {"POST": bases.create},
            ("basesearches", _OBJECT): {},
            ("runningworkloads", _COLLECTION): {"GET": running.list},
            ("runningworkloads", _OBJECT): {},
            ("pods", _COLLECTION): pods.collection,
            ("pods", _OBJECT): pods.object,
            **{(one, _COLLECTION): {"GET": read.list} for one, read in pods.endpoints.items()},
            **{(one, _OBJECT): {"GET": read.get} for one, read in pods.endpoints.items()},
            ("replicasets", _COLLECTION): {"GET": set_reads.list},
            ("replicasets", _OBJECT): {"GET": set_reads.get},
            ("replicationcontrollers", _COLLECTION): {
                "GET": controller_reads.list,
                "POST": controller_writes.refuse,
            },
            ("replicationcontrollers", _OBJECT): {
                "GET": controller_reads.get,
                "PUT": controller_writes.replace,
                "PATCH": controller_writes.patch,
                "DELETE": controller_writes.refuse,
            },
            ("processedtemplates", _COLLECTION): {"POST": templates.process},
            ("processedtemplates", _OBJECT): {},
            ("selfsubjectreviews", _COLLECTION): {"POST": reviews.identity},
            ("selfsubjectreviews", _OBJECT): {},
            ("selfsubjectaccessreviews", _COLLECTION): {"POST": reviews.access},
            ("selfsubjectaccessreviews", _OBJECT): {},
            ("subjectaccessreviews", _COLLECTION): {"POST": reviews.access_of},
            ("subjectaccessreviews", _OBJECT): {},
            ("tokenreviews", _COLLECTION): {"POST": reviews.token},
            ("tokenreviews", _OBJECT): {},
            ("selfsubjectrulesreviews", _COLLECTION): {"POST": reviews.rules},
            ("selfsubjectrulesreviews", _OBJECT): {},
        }
        acting = {
            **promotions.parts(),
            **subscriptions.parts(deps.actions.subscriptions, deps.limits),
            **waves.parts(actions.waves, deps.limits, deps.clock),
        }
        self._never_tried = {*acting, *((plural, "exec") for plural in (*_WORKLOADS, "jobs"))}
        self._parts: Mapping[tuple[str, str], _Handlers] = {
            ("builds", "log"): {"GET": builds.log},
            ("builds", "clone"): {"POST": builds.clone},
            ("buildconfigs", "instantiate"): {"POST": builds.instantiate},
            ("buildconfigs", "instantiatebinary"): {"POST": uploads.instantiate_binary},
            ("images", "packages"): {"GET": images.packages},
            ("serviceaccounts", "token"): {"POST": token_requests.create},
            **{(plural, "log"): {"GET": workloads.log} for plural in _WORKLOADS},
            **{(plural, "instances"): {"GET": workloads.instances} for plural in _WORKLOADS},
            **{(plural, "scale"): scale for plural in _SCALED},
            **{(plural, "rollback"): {"POST": workloads.rollback} for plural in _WORKLOADS},
            **{(plural, "rollout"): {"POST": workloads.roll_out} for plural in _WORKLOADS},
            **{
                (plural, "exec"): {**pods.entrance, "POST": workloads.execute}
                for plural in (*_WORKLOADS, "jobs")
            },
            **{
                (plural, part): pods.entrance
                for plural in (*_WORKLOADS, "jobs", "pods")
                for part in ("attach", "portforward")
            },
            **pods.parts,
            ("pods", "log"): {"GET": workloads.log},
            ("deploymentconfigs", "instantiate"): {"POST": workloads.instantiate},
            **acting,
            ("jobs", "log"): {"GET": workloads.log},
            ("jobs", "instances"): {"GET": workloads.instances},
        }

    def subresources(self) -> list[discovery.Subresource]:
        """Return every part of every kind, for discovery."""
        parts = [
            discovery.Subresource(plural, name, tuple(handlers))
            for (plural, name), handlers in self._parts.items()
        ]
        parts += [
            discovery.Subresource(
                resource.KIND.plural,
                _STATUS,
                ("GET",) if resource.KIND.read_only else ("GET", "PATCH", "PUT"),
            )
            for resource in RESOURCES
            if resource.KIND.has_status and (resource.KIND.plural, _STATUS) not in self._parts
        ]
        return parts

    async def answer(self, request: Request) -> Response:
        """Answer a request; raises whatever its handler raises."""
        path = request.path_params
        target = parse_target(path.get("group", ""), path["version"], path["path"])
        handlers = self._handlers(target)
        method = "GET" if request.method == "HEAD" else request.method
        handler = handlers.get(method)
        if handler is None:
            raise ApiError(405, f"{method} is not possible here: {', '.join(handlers)}")
        part = (target.kind.plural, target.subresource)
        if method != "GET" and request.query_params.get("dryRun") and part in self._never_tried:
            raise ApiError(400, f"dryRun: {'/'.join(part)} acts at once and cannot be tried")
        try:
            return await handler(request, target)
        except ExceptionGroup as group:
            raise first_error(group) from group

    def _handlers(self, target: RequestTarget) -> _Handlers:
        if target.kind.read_only and target.subresource in {"", _STATUS}:
            return {"GET": self._reads.get if target.name else self._reads.list}
        objects, plural = self._objects, target.kind.plural
        own = self._parts.get((plural, target.subresource))
        if own is None and target.subresource == _STATUS and target.kind.has_status:
            return {
                "GET": self._reads.get,
                "PUT": objects.replace_status,
                "PATCH": objects.patch_status,
            }
        if target.subresource:
            if own is None:
                raise ApiError(404, f"{plural} have no {target.subresource}")
            return own
        view = self._views.get((plural, _OBJECT if target.name else _COLLECTION))
        if view is not None:
            return view
        if not target.name:
            return {
                "GET": self._reads.list,
                "POST": objects.create,
                "DELETE": objects.delete_collection,
            }
        return self._of_objects()

    def _of_objects(self) -> _Handlers:
        """Return the handlers of one object of most kinds."""
        return {
            "GET": self._reads.get,
            "PUT": self._objects.replace,
            "PATCH": self._objects.patch,
            "DELETE": self._objects.delete,
        }
