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
from upwell.app.cleanup import (
    clean_logs,
    clean_uploads,
)
from upwell.app.configuration import build_slots, build_storage
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
from upwell.app.pruning.wiring import open_pruning
from upwell.app.quotas.storage import build_limit
from upwell.app.rebasing.builds import build_rebases
from upwell.app.registries.wiring import image_mirror, registry_loops, registry_routes
from upwell.app.signing.image_policies import JUDGED, image_policies
from upwell.app.signing.keys import served_keys
from upwell.app.signing.wiring import image_signing
from upwell.app.supervision import retry_after_recovery
from upwell.builder.interface import BuildLimits
from upwell.controller import Controller
from upwell.machine.clock import PROCESS_CLOCK, elapsed, now
from upwell.machine.platform import machine_platform
from upwell.policy.builds.plan import BuildDefaults
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers.builds.build_configs import build_config_controller
from upwell.reconcilers.builds.builds import Builds, build_controller
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.reconcilers.builds.objects import referenced_inputs
from upwell.reconcilers.builds.output import BuildOutputs, SignPushed, without_login
from upwell.reconcilers.builds.planner import BuildPlanner
from upwell.reconcilers.builds.room import BuildRooms
from upwell.reconcilers.builds.run import BuildRun
from upwell.reconcilers.builds.slots import BuildCapacity
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
from upwell.reconcilers.routing.ingresses import CreateRoute
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


def wire(adapters: Adapters) -> Wired:
    """Return what reconciles and what the API needs, on `adapters`."""
    store = adapters.store
    secrets = PullSecrets(store, adapters.logins)
    beside = None
    if adapters.embedded is not None:
        beside = AttachmentMirror(adapters.registries, adapters.embedded)
    findings = DeferredPasses(FindingRecorder(store, now))
    policies = image_policies(adapters, secrets, beside, findings)
    streams = _streams(adapters, secrets, policies)
    builds, workloads = _build_index(adapters), WorkloadIndex(adapters.cache)
    records = None
    if adapters.cluster is not None:
        records = cluster_records(adapters.cluster, adapters.authority, policies)
    waves = WaveIndex(builds, None if records is None else records.of)
    limits = _limits(adapters.settings.quota)
    clients = _clients(adapters, limits)
    pruning = open_pruning(adapters)
    machine = adapters.machine
    contents = ImageContents(
        store, adapters.registries, adapters.inventory, secrets, machine_platform()
    )
    signing = image_signing(adapters, _build_logins(adapters), contents)
    deps = ServerDependencies(
        store=clients,
        build_logs=adapters.logs,
        actions=replace(
            actions(
                adapters,
                clients,
                waves,
                streams,
                secrets,
                (pruning.pruning, pruning.sweep),
                policies,
            ),
            running=running_workloads(adapters, workloads, records, secrets),
        ),
        clock=now,
        shutdown=asyncio.Event(),
        version=__version__,
        runtime=None if machine is None else machine.runtime,
        inputs=adapters.inputs,
        store_keys=adapters.encryption.keys(),
        signing_keys=served_keys(adapters.signing_keys),
        evidence=adapters.evidence,
        signatures=adapters.protection.signatures,
        registry_routes=registry_routes(adapters, clients),
        metrics=adapters.metrics,
        gauges=replica_gauges(adapters.gauges, adapters.election),
        role=replica_role(adapters.election),
        leader=None if adapters.election is None else leader_replica(adapters.election),
        components=adapters.components,
        access=adapters.protection.control,
        audit=None if adapters.audit is None else adapters.audit.kept,
        token_exchange=adapters.protection.exchange,
        hosts=_hosts(adapters.settings),
        limits=limits,
        sign_in=adapters.protection.sign_in,
        url=adapters.settings.named_url,
    )
    rooms = BuildRooms(
        adapters.builder,
        build_limit(store, limits.namespace_quota),
        build_storage(adapters.settings),
    )
    events = EventReconciler(adapters.cache, now)
    building = _builds(
        adapters, builds, image_mirror(adapters, beside), signing.sign_pushed, policies, rooms
    )
    controllers: Sequence[Controller] = (
        image_stream_controller(streams, adapters.cache),
        image_contents_controller(contents, adapters.cache),
        build_config_controller(builds, now),
        following_commits(adapters, builds, _build_logins(adapters)),
        build_controller(building, builds),
        *signing.controllers,
        *_instances(adapters, workloads, builds, (secrets, policies), clients.create, records),
        *(measured_quotas(adapters, rooms) if machine is not None else ()),
        *promotion(adapters, workloads, builds, secrets, policies, records),
        cluster_controller(
            adapters.cache,
            ClusterReconciler(store, adapters.remote_clusters, now, adapters.authority),
        ),
        event_controller(events, adapters.cache),
        wave_controller(waves, now, elapsed, adapters.settings.waves.rules),
        component_controller(adapters.components, adapters.cache, __version__, now),
        *(trace_controller(traces, adapters.cache) for traces in adapters.traces),
        *adapters.subscriptions.controllers,
    )
    policies.on_signed.append(building.retry_refused)
    policies.on_signed += [one.queue.retry_now for one in controllers if one.name in JUDGED]
    reconciling: Sequence[Loop] = (
        *(controller.run for controller in controllers),
        partial(retry_after_recovery, adapters.components, controllers),
        *pruning.loops,
        *((partial(remove_old_events, events),) if machine is not None else ()),
        partial(watch_tokens, store, PROCESS_CLOCK, adapters.components),
        partial(clean_exchanges, store, PROCESS_CLOCK),
        *_sign_in(adapters.protection),
        *adapters.subscriptions.loops,
        *cluster_reports(adapters.cluster, adapters.cache),
    )
    loops: Sequence[Loop] = (
        adapters.cache.run,
        partial(watch_disk, adapters.disk, adapters.kept_back, adapters.components),
        partial(watch_descriptors, adapters.components),
        partial(watch_loop, adapters.metrics),
        partial(watch_clock, PROCESS_CLOCK, adapters.components),
        partial(adapters.encryption.watch, adapters.components),
        *_cleanups(adapters),
        *((beside.run,) if beside is not None else ()),
        findings.run,
        adapters.protection.keep_fresh,
        adapters.protection.control.audit.keep,
        adapters.protection.export_audit_log,
        *(() if adapters.audit is None else adapters.audit.loops),
        *cluster_loops(
            adapters.cluster, records, adapters.cache, adapters.components, adapters.signing_keys
        ),
        *_place(adapters),
        *led_loops(adapters.cluster, adapters.components, reconciling),
    )
    admission = admission_app(adapters.cluster, adapters.settings.image_prefix, adapters.store)
    return Wired(deps, loops, admission)


def _clients(adapters: Adapters, limits: ServerLimits) -> Store:
    """Return the store as clients see it; a cluster has quotas of its own."""
    if adapters.cluster is not None:
        return adapters.store
    return LimitedStore(adapters.store, limits, cache=adapters.cache)


def _instances(
    adapters: Adapters,
    workloads: WorkloadIndex,
    builds: BuildIndex,
    pulls: tuple[PullSecrets, ImagePolicies],
    create: CreateRoute,
    records: RolloutRecords | None,
) -> Sequence[Controller]:
    """Return what keeps workloads current: on this machine, or those of the cluster."""
    waves = adapters.settings.waves
    canaries = bool(waves.rules.canary.share)
    if records is not None and adapters.cluster is not None:
        gate = WaveGate(builds, now, canaries=canaries, hint=goes_at_once_on_cluster)
        gateway = adapters.settings.kubernetes.gateway
        return cluster_controllers(
            adapters.cluster, records, workloads, gate, waves.budget, gateway
        )
    if adapters.machine is None:
        return ()
    gate = WaveGate(builds, now, canaries=canaries)
    return instance_controllers(adapters, adapters.machine, workloads, gate, pulls, create)


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


def _build_index(adapters: Adapters) -> BuildIndex:
    settings = adapters.settings
    on_base_change = settings.build_isolation.on_base_change
    approvals = settings.waves.rules.approvals
    return BuildIndex(adapters.cache, on_base_change, approvals, adapters.authority)


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


def _build_logins(adapters: Adapters) -> BuildLogins:
    return BuildLogins(
        adapters.store,
        adapters.embedded_host,
        adapters.logins,
        *([adapters.protection.registry.of_build] if adapters.embedded is not None else []),
    )


def _builds(
    adapters: Adapters,
    index: BuildIndex,
    mirror: ImageMirror,
    sign: SignPushed,
    policies: ImagePolicies,
    rooms: BuildRooms,
) -> Builds:
    settings = adapters.settings
    isolation = settings.build_isolation
    defaults = BuildDefaults(
        BuildLimits(isolation.memory_bytes, pids=isolation.processes),
        is_insecure=adapters.is_insecure,
    )
    planner = BuildPlanner(
        adapters.store,
        _build_logins(adapters),
        adapters.registries,
        adapters.internal,
        defaults,
        adapters.inputs,
        authority=adapters.authority,
        policies=policies,
        bar=index.bar_of_new,
    )
    to_push = _build_logins(adapters).to_push
    access = without_login if adapters.embedded is not None else to_push
    run = BuildRun(
        adapters.store,
        adapters.builder,
        adapters.logs,
        mirror,
        planner,
        BuildOutputs(adapters.store, adapters.internal, now, sign, access),
        rebases=build_rebases(adapters, index, mirror, access, to_push),
        clock=now,
        limit_room=rooms.limited,
    )
    return Builds(
        index,
        adapters.builder,
        adapters.logs,
        run,
        capacity=BuildCapacity(
            build_slots(settings),
            adapters.disk.pressure,
            lambda since: bool(adapters.components.fault_since(since, "storage")),
            adapters.client.connection.budget.closed_for,
            settings.build_isolation.namespace_slots,
        ),
        clock=now,
    )
