"""Versions of kinds that older clusters serve: those that have nothing else are asked for them."""

from upwell.api.apps import CronJob
from upwell.store.interface import RejectedError
from upwell.store.kubernetes import KubernetesStore


async def use_served_versions(client: KubernetesStore) -> None:
    """Ask which version of CronJobs there is: clusters before 1.21 have `batch/v1beta1` alone.

    Raises UnavailableError.
    """
    kind = CronJob.KIND
    try:
        group = await client.send_raw("GET", f"/apis/{kind.group}/{kind.version}")
    except RejectedError:
        return  # nothing is known of it: the version of now
    served = group.get("resources")
    names = {one.get("name") for one in served} if isinstance(served, list) else set()
    if kind.plural not in names:
        client.connection.use_version(kind, "v1beta1")
