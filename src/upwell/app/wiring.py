"""Hands each reconciler and the API the ports that they need."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from upwell import __version__
from upwell.app.actions import ReconcilerActions
from upwell.app.adapters import Adapters
from upwell.app.cleanup import referenced_evidence, sweep_inputs, sweep_registry
from upwell.app.clock import now
from upwell.app.configuration import build_slots
from upwell.app.promotion import promotion
from upwell.app.pruning import PruningService
from upwell.machine.platform import machine_platform
from upwell.oci import Digest
from upwell.policy.builds.plan import BuildDefaults
from upwell.policy.images.registry_webhooks import PushNotice
from upwell.policy.images.schedule import ImportSchedule
from upwell.reconcilers import rollouts
from upwell.reconcilers.builds.build_configs import BuildConfigs
from upwell.reconcilers.builds.builds import Builds
from upwell.reconcilers.builds.cache import BuildView
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.builds.objects import referenced_inputs
from upwell.reconcilers.builds.output import BuildOutputs
from upwell.reconcilers.builds.planner import BuildPlanner
from upwell.reconcilers.builds.requests import BuildRequests
from upwell.reconcilers.builds.run import BuildRun
from upwell.reconcilers.images.examination import ImageExaminer
from upwell.reconcilers.images.image_streams import ImageStreams
from upwell.reconcilers.images.packages import ImageContents
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs import jobs
from upwell.reconcilers.jobs.cron_jobs import CronJobReconciler
from upwell.reconcilers.notifications import events
from upwell.reconcilers.pruning import Stores
from upwell.reconcilers.rollouts import triggers as workload_triggers
from upwell.reconcilers.rollouts.cache import WorkloadView
from upwell.reconcilers.rollouts.local_images import LocalImages
from upwell.reconcilers.routing import reconciler as routing
from upwell.registry.mirror import Mirror
from upwell.server.asgi.app import ServerDependencies
from upwell.server.distribution.routes import create_routes
from upwell.store.interface import Store

type Loop = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled."""


@dataclass(frozen=True, slots=True)
class Wired:
    """Everything that runs, ready to be started."""

    deps: ServerDependencies
    loops: Sequence[Loop]
    """What reconciles."""


def wire(adapters: Adapters) -> Wired:
    """Return what reconciles and what the API needs, on `adapters`."""
    store = adapters.store
    secrets = PullSecrets(store, adapters.logins)
    streams = _streams(adapters, secrets)
    view, workloads = BuildView(store), WorkloadView(store)
    upkeep = PruningService(_stores(adapters), adapters.settings.retention)
    contents = ImageContents(
        store, adapters.registries, adapters.inventory, secrets, machine_platform()
    )
    deps = ServerDependencies(
        store=store,
        build_logs=adapters.logs,
        actions=ReconcilerActions(store, BuildRequests(view)),
        note_pushes=partial(_note_pushes, streams),
        packages=partial(_packages, contents),
        clock=now,
        shutdown=asyncio.Event(),
        version=__version__,
        runtime=adapters.runtime,
        inputs=adapters.inputs,
        evidence=adapters.evidence,
        signatures=adapters.protection.signatures,
        examiner=ImageExaminer(store, adapters.registries, secrets, now),
        untag=adapters.internal.untag,
        subscriptions=adapters.subscriptions.requests,
        registry_routes=create_routes(adapters.internal),
        prune_routes=upkeep.routes(),
        metrics=adapters.metrics,
        gauges=adapters.gauges,
        access=adapters.protection.control,
    )
    loops = (
        streams.run,
        view.run,
        BuildConfigs(view, clock=now).run,
        _builds(adapters, view).run,
        contents.run,
        workloads.run,
        *_workloads(adapters, workloads, secrets),
        *_events(store),
        *_sweeps(adapters),
        upkeep.run,
        adapters.protection.keep_fresh,
        *(controller.run for controller in promotion(adapters, workloads, view, secrets)),
        *(traces.run for traces in adapters.traces),
        *adapters.subscriptions.loops,
    )
    return Wired(deps, loops)


def _streams(adapters: Adapters, secrets: PullSecrets) -> ImageStreams:
    return ImageStreams(
        adapters.store,
        adapters.registries,
        adapters.internal,
        secrets,
        ImportSchedule(interval=adapters.settings.import_interval),
        clock=now,
        platforms=(machine_platform(),),
    )


def _workloads(adapters: Adapters, view: WorkloadView, secrets: PullSecrets) -> Sequence[Loop]:
    """Return what runs instances and routes to them."""
    store = adapters.store
    traffic = rollouts.Traffic(now)
    machine = rollouts.RolloutPorts(adapters.runtime, adapters.router, traffic, adapters.services)
    images = rollouts.TemplateImages(
        adapters.registries, secrets, adapters.insecure_registries, LocalImages(store)
    )
    rollout = rollouts.controller(view, machine, images, now)
    routes = routing.controller(view, machine, now)
    job = jobs.controller(store, machine, images, now)
    return (
        workload_triggers.controller(view, now).run,
        job.run,
        CronJobReconciler(store, now).run,
        rollout.run,
        routes.run,
        *(partial(job.feed, keys) for keys in jobs.feeds(machine)),
        *(partial(rollout.feed, keys) for keys in rollouts.feeds(machine)),
        *(partial(routes.feed, keys) for keys in routing.feeds(machine)),
    )


def _events(store: Store) -> Sequence[Loop]:
    telling = events.EventReconciler(store, now)
    return (
        events.controller(telling, store).run,
        partial(events.sweep_periodically, telling),
    )


def _sweeps(adapters: Adapters) -> Sequence[Loop]:
    return (
        partial(sweep_registry, adapters.internal),
        partial(sweep_inputs, adapters.store, adapters.inputs, referenced_inputs),
        partial(sweep_inputs, adapters.store, adapters.evidence, referenced_evidence),
    )


def _stores(adapters: Adapters) -> Stores:
    """Return everything that grows."""
    return Stores(
        objects=adapters.store,
        registry=adapters.internal,
        host=adapters.settings.internal_host,
        logs=adapters.logs,
        inputs=adapters.inputs,
        inventory=adapters.inventory,
        builder=adapters.builder,
        runtime=adapters.runtime,
        clock=now,
    )


def _builds(adapters: Adapters, view: BuildView) -> Builds:
    settings = adapters.settings
    defaults = BuildDefaults(
        deadline_seconds=settings.build_deadline.total_seconds(),
        insecure_registries=adapters.insecure_registries,
    )
    planner = BuildPlanner(
        adapters.store,
        BuildLogins(
            adapters.store,
            settings.internal_host,
            adapters.logins,
            adapters.protection.registry.of_build,
        ),
        adapters.registries,
        adapters.internal,
        defaults,
        adapters.inputs,
    )
    run = BuildRun(
        adapters.store,
        adapters.builder,
        adapters.logs,
        Mirror(adapters.registries, adapters.internal, machine_platform()),
        planner,
        BuildOutputs(adapters.store, adapters.internal, now),
        clock=now,
    )
    return Builds(
        view, adapters.builder, adapters.logs, run, slots=build_slots(settings), clock=now
    )


async def _note_pushes(streams: ImageStreams, notices: Sequence[PushNotice]) -> int:
    return await streams.note(notices)


async def _packages(contents: ImageContents, digest: Digest) -> Sequence[Mapping[str, Any]]:
    return [asdict(package) for package in await contents.packages(digest) or ()]
