"""Hands what runs and routes on this machine the ports that it needs."""

from collections.abc import Sequence

from upwell.app.adapters import Adapters
from upwell.app.machine.adapters import MachineAdapters
from upwell.app.machine.firewall import firewall
from upwell.app.quotas.storage import measures
from upwell.controller import Controller
from upwell.machine.clock import now
from upwell.reconcilers import rollouts
from upwell.reconcilers.builds.room import BuildRooms
from upwell.reconcilers.claims.reconciler import claim_controller
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs.cron_jobs import cron_job_controller
from upwell.reconcilers.jobs.jobs import job_controller
from upwell.reconcilers.jobs.pods import pod_controller
from upwell.reconcilers.quotas.reconciler import resource_quota_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.local_images import LocalImages
from upwell.reconcilers.rollouts.triggers import workload_trigger_controller
from upwell.reconcilers.rollouts.turns import RolloutTurns
from upwell.reconcilers.routing.ingresses import CreateRoute, ingress_controller
from upwell.reconcilers.routing.reconciler import routing_controller
from upwell.reconcilers.routing.supervision import router_supervision_controller
from upwell.reconcilers.signatures.policies import ImagePolicies
from upwell.reconcilers.waves.gate import WaveGate


def instance_controllers(
    adapters: Adapters,
    machine: MachineAdapters,
    index: WorkloadIndex,
    gate: WaveGate,
    pulls: tuple[PullSecrets, ImagePolicies],
    create: CreateRoute,
) -> Sequence[Controller]:
    """Return what runs instances and routes to them."""
    secrets, policies = pulls
    cache = adapters.cache
    traffic = rollouts.Traffic(now)
    ports = rollouts.RolloutPorts(
        machine.runtime,
        machine.router,
        traffic,
        machine.runtime.service_network,
        machine.store.timeline,
        adapters.disk.pressure,
        adapters.authority,
        adapters.protection.api_authority,
    )
    images = rollouts.TemplateImages(
        adapters.registries,
        secrets,
        InsecureRegistries(adapters.store, adapters.is_insecure),
        LocalImages(adapters.store, gate.unapproved),
        policies,
        machine.runtime.local_image,
    )
    return (
        workload_trigger_controller(
            index,
            now,
            gate,
            turns=RolloutTurns(cache, now, adapters.settings.waves.budget),
            watches=gate.watches(),
        ),
        job_controller(cache, ports, images, now),
        pod_controller(cache, ports, images, now),
        cron_job_controller(cache, now),
        rollouts.rollout_controller(index, ports, images, now),
        ingress_controller(cache, now, ports.authority, create),
        routing_controller(cache, ports, now, adapters.settings.own_places),
        router_supervision_controller(cache, ports),
        *firewall(adapters.settings, machine, cache, traffic),
    )


def measured_quotas(adapters: Adapters, rooms: BuildRooms) -> Sequence[Controller]:
    """Return what writes the statuses of quotas and claims."""
    measured = measures(adapters.embedded, rooms, adapters.inputs)
    return (
        resource_quota_controller(adapters.cache, measured, now),
        claim_controller(adapters.cache),
    )
