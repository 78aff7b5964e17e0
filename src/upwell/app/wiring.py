"""Hands each reconciler and the API the ports that they need."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from socket import gethostname
from typing import Any

from starlette.applications import Starlette

from upwell import __version__
from upwell.app.access import Protection
from upwell.app.actions import actions, running_workloads
from upwell.app.adapters import Adapters
from upwell.app.builds.commits import following_commits
from upwell.app.builds.wiring import build_index, build_logins, build_rooms, carried_out_builds
from upwell.app.cleanup import (
    clean_logs,
    clean_uploads,
)
from upwell.app.identity.ended_tokens import watch_tokens
from upwell.app.identity.signin import prune_sessions
from upwell.app.identity.token_life import clean_exchanges, keep_token_uses
from upwell.app.kubernetes.leading import leader_replica, tell_place
from upwell.app.kubernetes.wiring import (
    admission_app,
    cluster_controllers,
    cluster_loops,
    cluster_records,
    cluster_reports,
    led_loops,
    replica_gauges,
    replica_role,
)
from upwell.app.machine.wiring import instance_controllers, measured_quotas
from upwell.app.machine_watch import (
    watch_clock,
    watch_descriptors,
    watch_disk,
)
from upwell.app.promotion import promotion
from upwell.app.pruning.wiring import OpenedPruning, open_pruning
from upwell.app.registries.wiring import image_mirror, registry_loops, registry_routes
from upwell.app.signing.image_policies import JUDGED, image_policies
from upwell.app.signing.keys import served_keys
from upwell.app.signing.wiring import image_signing
from upwell.app.supervision import retry_after_recovery
from upwell.controller import Controller
from upwell.machine.clock import PROCESS_CLOCK, elapsed, now
from upwell.machine.platform import machine_platform
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.builds.build_configs import build_config_controller
from upwell.reconcilers.builds.builds import build_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.objects import referenced_inputs
from upwell.reconcilers.cluster_rollouts.records import RolloutRecords, goes_at_once_on_cluster
from upwell.reconcilers.clusters.reconciler import ClusterReconciler, cluster_controller
from upwell.reconcilers.components.reconciler import component_controller
from upwell.reconcilers.images.image_streams import ImageStreams, image_stream_controller
from upwell.reconcilers.images.packages import ImageContents, image_contents_controller
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.notifications.events import (
    EventReconciler,
    event_controller,
    remove_old_events,
)
from upwell.reconcilers.pruning.evidence import referenced_evidence
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.signatures.findings import DeferredPasses, FindingRecorder
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.reconcilers.tracing.reconciler import trace_controller
from upwell.reconcilers.waves.gate import WaveGate
from upwell.reconcilers.waves.index import WaveIndex
from upwell.reconcilers.waves.waves import wave_controller
from upwell.registry.attachments.mirrored import AttachmentMirror
from upwell.server.admission.quota import LimitedStore
from upwell.server.asgi.dependencies import ServerDependencies
from upwell.server.asgi.mixed_tls import TLS_NAME
from upwell.server.http.hosts import HostNames
from upwell.server.http.limits import DEFAULT_LIMITS, ServerLimits
from upwell.server.metrics.loop_lag import watch_loop
from upwell.settings import QuotaSettings, ServerSettings
from upwell.store.interface import Store

type Loop = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled."""


@dataclass(frozen=True, slots=True)
class Wired:
    """Controllers and loops, ready to be started."""

    deps: ServerDependencies
    loops: Sequence[Loop]
    """Loops of every replica. Where there is but one process, it reconciles in them; else that is
    the leader's, which one of them elects."""
    admission: Starlette | None = None
    """Answers the webhook of a cluster; None: there is none."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Parts that several reconcilers share, or they and the API."""

    adapters: Adapters
    secrets: PullSecrets
    beside: AttachmentMirror | None
    """Copies the evidence of images; None: images of builds lie elsewhere."""
    findings: DeferredPasses
    policies: ImagePolicies
    streams: ImageStreams
    builds: BuildIndex
    workloads: WorkloadIndex
    records: RolloutRecords | None
    """Rollouts of the cluster that runs everything; None: this machine does."""
    waves: WaveIndex
    limits: ServerLimits
    clients: Store
    """The store as clients see it."""
    pruning: OpenedPruning
    events: EventReconciler


def wire(adapters: Adapters) -> Wired:
    """Return what reconciles and what the API needs, on `adapters`."""
    parts = _shared_parts(adapters)
    deps = _dependencies(parts)
    loops = _loops(parts, _reconciling(parts, _controllers(parts)))
    admission = admission_app(adapters.cluster, adapters.settings.image_prefix, adapters.store)
    return Wired(deps, loops, admission)


def _shared_parts(adapters: Adapters) -> _Parts:
    secrets = PullSecrets(adapters.store, adapters.logins)
    beside = None
    if adapters.embedded is not None:
        beside = AttachmentMirror(adapters.registries, adapters.embedded)
    findings = DeferredPasses(FindingRecorder(adapters.store, now))
    policies = image_policies(adapters, secrets, beside, findings)
    builds, records = build_index(adapters), None
    if adapters.cluster is not None:
        records = cluster_records(adapters.cluster, adapters.authority, policies)
    limits = _limits(adapters.settings.quota)
    return _Parts(
        adapters=adapters,
        secrets=secrets,
        beside=beside,
        findings=findings,
        policies=policies,
        streams=_streams(adapters, secrets, policies),
        builds=builds,
        workloads=WorkloadIndex(adapters.cache),
        records=records,
        waves=WaveIndex(builds, None if records is None else records.of),
        limits=limits,
        clients=_clients(adapters, limits),
        pruning=open_pruning(adapters),
        events=EventReconciler(adapters.cache, now),
    )


def _dependencies(parts: _Parts) -> ServerDependencies:
    """Return what the API needs."""
    adapters, pruning = parts.adapters, parts.pruning
    asked_for = actions(
        adapters,
        parts.clients,
        parts.waves,
        parts.streams,
        parts.secrets,
        (pruning.pruning, pruning.sweep),
        parts.policies,
    )
    running = running_workloads(adapters, parts.workloads, parts.records, parts.secrets)
    return ServerDependencies(
        store=parts.clients,
        build_logs=adapters.logs,
        actions=replace(asked_for, running=running),
        clock=now,
        shutdown=asyncio.Event(),
        version=__version__,
        runtime=None if adapters.machine is None else adapters.machine.runtime,
        inputs=adapters.inputs,
        store_keys=adapters.encryption.keys(),
        signing_keys=served_keys(adapters.signing_keys),
        evidence=adapters.evidence,
        signatures=adapters.protection.signatures,
        registry_routes=registry_routes(adapters, parts.clients),
        metrics=adapters.metrics,
        gauges=replica_gauges(adapters.gauges, adapters.election),
        role=replica_role(adapters.election),
        leader=None if adapters.election is None else leader_replica(adapters.election),
        components=adapters.components,
        access=adapters.protection.control,
        audit=None if adapters.audit is None else adapters.audit.kept,
        token_exchange=adapters.protection.exchange,
        hosts=_hosts(adapters.settings),
        limits=parts.limits,
        sign_in=adapters.protection.sign_in,
        url=adapters.settings.named_url,
    )


def _controllers(parts: _Parts) -> Sequence[Controller]:
    """Return every controller; what waits for a signature is woken when there is one."""
    adapters, store, builds = parts.adapters, parts.adapters.store, parts.builds
    contents = ImageContents(
        store, adapters.registries, adapters.inventory, parts.secrets, machine_platform()
    )
    logins = build_logins(adapters)
    signing = image_signing(adapters, logins, contents)
    rooms = build_rooms(adapters, parts.limits.namespace_quota)
    mirror = image_mirror(adapters, parts.beside)
    building = carried_out_builds(
        adapters, builds, mirror, signing.sign_pushed, parts.policies, rooms
    )
    clusters = ClusterReconciler(store, adapters.remote_clusters, now, adapters.authority)
    controllers: Sequence[Controller] = (
        image_stream_controller(parts.streams, adapters.cache),
        image_contents_controller(contents, adapters.cache),
        build_config_controller(builds, now),
        following_commits(adapters, builds, logins),
        build_controller(building, builds),
        *signing.controllers,
        *_instances(parts),
        *(measured_quotas(adapters, rooms) if adapters.machine is not None else ()),
        *promotion(adapters, parts.workloads, builds, parts.secrets, parts.policies, parts.records),
        cluster_controller(adapters.cache, clusters),
        event_controller(parts.events, adapters.cache),
        wave_controller(parts.waves, now, elapsed, adapters.settings.waves.rules),
        component_controller(adapters.components, adapters.cache, __version__, now),
        *(trace_controller(traces, adapters.cache) for traces in adapters.traces),
        *adapters.subscriptions.controllers,
    )
    parts.policies.on_signed.append(building.retry_refused)
    parts.policies.on_signed += [one.queue.retry_now for one in controllers if one.name in JUDGED]
    return controllers


def _reconciling(parts: _Parts, controllers: Sequence[Controller]) -> Sequence[Loop]:
    """Return the loops of the process that reconciles: the only one, or the leader's."""
    adapters = parts.adapters
    remove_events = partial(remove_old_events, parts.events)
    return (
        *(controller.run for controller in controllers),
        partial(retry_after_recovery, adapters.components, controllers),
        *parts.pruning.loops,
        *((remove_events,) if adapters.machine is not None else ()),
        partial(watch_tokens, adapters.store, PROCESS_CLOCK, adapters.components),
        partial(clean_exchanges, adapters.store, PROCESS_CLOCK),
        *_sign_in(adapters.protection),
        *adapters.subscriptions.loops,
        *cluster_reports(adapters.cluster, adapters.cache),
    )


def _loops(parts: _Parts, reconciling: Sequence[Loop]) -> Sequence[Loop]:
    """Return the loops of every replica, and those that reconcile, while it leads."""
    adapters, protection, beside = parts.adapters, parts.adapters.protection, parts.beside
    return (
        adapters.cache.run,
        partial(watch_disk, adapters.disk, adapters.kept_back, adapters.components),
        partial(watch_descriptors, adapters.components),
        partial(watch_loop, adapters.metrics),
        partial(watch_clock, PROCESS_CLOCK, adapters.components),
        partial(adapters.encryption.watch, adapters.components),
        *_cleanups(adapters),
        *((beside.run,) if beside is not None else ()),
        parts.findings.run,
        protection.keep_fresh,
        protection.control.audit.keep,
        protection.export_audit_log,
        *(() if adapters.audit is None else adapters.audit.loops),
        *cluster_loops(
            adapters.cluster,
            parts.records,
            adapters.cache,
            adapters.components,
            adapters.signing_keys,
        ),
        *_place(adapters),
        *led_loops(adapters.cluster, adapters.components, reconciling),
    )


def _clients(adapters: Adapters, limits: ServerLimits) -> Store:
    """Return the store as clients see it; a cluster has quotas of its own."""
    if adapters.cluster is not None:
        return adapters.store
    return LimitedStore(adapters.store, limits, cache=adapters.cache)


def _instances(parts: _Parts) -> Sequence[Controller]:
    """Return what keeps workloads current: on this machine, or those of the cluster."""
    adapters, records = parts.adapters, parts.records
    waves = adapters.settings.waves
    canaries = bool(waves.rules.canary.share)
    if records is not None and adapters.cluster is not None:
        gate = WaveGate(parts.builds, now, canaries=canaries, hint=goes_at_once_on_cluster)
        gateway = adapters.settings.kubernetes.gateway
        return cluster_controllers(
            adapters.cluster, records, parts.workloads, gate, waves.budget, gateway
        )
    if adapters.machine is None:
        return ()
    gate = WaveGate(parts.builds, now, canaries=canaries)
    pulls, create = (parts.secrets, parts.policies), parts.clients.create
    return instance_controllers(adapters, adapters.machine, parts.workloads, gate, pulls, create)


def _sign_in(protection: Protection) -> Sequence[Loop]:
    if protection.sign_in is None:
        return ()
    return (partial(prune_sessions, protection.sign_in.sessions),)


def _place(adapters: Adapters) -> Sequence[Loop]:
    if adapters.election is None:
        return ()
    url, certificate = adapters.settings.replica_url, adapters.protection.certificate
    return (partial(tell_place, adapters.election, url, certificate),)


def _limits(quota: QuotaSettings) -> ServerLimits:
    return replace(
        DEFAULT_LIMITS,
        objects=quota.objects,
        objects_per_namespace=quota.objects_per_namespace,
        watches=quota.watches,
        watches_per_client=quota.watches_per_client,
        watches_per_namespace=quota.watches_per_namespace,
        namespace_quota=quota.of_namespaces,
    )


def _hosts(settings: ServerSettings) -> HostNames:
    names = settings.answered_names
    return HostNames() if names is None else HostNames.of((*names, TLS_NAME, gethostname()))


def _streams(adapters: Adapters, secrets: PullSecrets, policies: ImagePolicies) -> ImageStreams:
    return ImageStreams(
        adapters.cache,
        adapters.registries,
        adapters.internal,
        secrets,
        ImportSchedule(interval=adapters.settings.import_interval),
        clock=now,
        platforms=(machine_platform(),),
        authority=adapters.authority,
        policies=policies,
    )


def _cleanups(adapters: Adapters) -> Sequence[Loop]:
    return (
        *registry_loops(adapters),
        partial(clean_uploads, adapters.store, adapters.inputs, referenced_inputs),
        partial(clean_uploads, adapters.store, adapters.evidence, referenced_evidence),
        *(
            []
            if adapters.kept_logs is None
            else [partial(clean_logs, adapters.store, adapters.kept_logs)]
        ),
        partial(keep_token_uses, adapters.store, adapters.protection.control.tokens.uses),
    )
