"""Hands what builds the ports that it needs."""

from upwell.app.adapters import Adapters
from upwell.app.configuration import build_slots, build_storage
from upwell.app.quotas.storage import build_limit
from upwell.app.rebasing.builds import build_rebases
from upwell.builder.interface import BuildLimits
from upwell.machine.clock import now
from upwell.policy.builds.plan import BuildDefaults
from upwell.policy.quotas.usage import Usage
from upwell.reconcilers.builds.builds import Builds
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.builds.mirror import ImageMirror
from upwell.reconcilers.builds.output import BuildOutputs, SignPushed, without_login
from upwell.reconcilers.builds.planner import BuildPlanner
from upwell.reconcilers.builds.room import BuildRooms
from upwell.reconcilers.builds.run import BuildRun
from upwell.reconcilers.builds.slots import BuildCapacity
from upwell.reconcilers.signatures.policies import ImagePolicies


def build_index(adapters: Adapters) -> BuildIndex:
    """Return the index of BuildConfigs and Builds, on the cache."""
    settings = adapters.settings
    on_base_change = settings.build_isolation.on_base_change
    approvals = settings.waves.rules.approvals
    return BuildIndex(adapters.cache, on_base_change, approvals, adapters.authority)


def build_logins(adapters: Adapters) -> BuildLogins:
    """Return the logins by which builds pull and push."""
    return BuildLogins(
        adapters.store,
        adapters.embedded_host,
        adapters.logins,
        *([adapters.protection.registry.of_build] if adapters.embedded is not None else []),
    )


def build_rooms(adapters: Adapters, namespace_quota: Usage) -> BuildRooms:
    """Return the room that the builds of each namespace have on this machine."""
    return BuildRooms(
        adapters.builder,
        build_limit(adapters.store, namespace_quota),
        build_storage(adapters.settings),
    )


def carried_out_builds(
    adapters: Adapters,
    index: BuildIndex,
    mirror: ImageMirror,
    sign: SignPushed,
    policies: ImagePolicies,
    rooms: BuildRooms,
) -> Builds:
    """Return what carries Builds out; `sign` signs what they have pushed."""
    settings = adapters.settings
    isolation = settings.build_isolation
    defaults = BuildDefaults(
        BuildLimits(isolation.memory_bytes, pids=isolation.processes),
        is_insecure=adapters.is_insecure,
    )
    planner = BuildPlanner(
        adapters.store,
        build_logins(adapters),
        adapters.registries,
        adapters.internal,
        defaults,
        adapters.inputs,
        authority=adapters.authority,
        policies=policies,
        bar=index.bar_of_new,
    )
    to_push = build_logins(adapters).to_push
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
