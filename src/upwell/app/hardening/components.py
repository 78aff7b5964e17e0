"""Check of `upwell doctor`: what the server that runs from a data folder says of its components."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from upwell.api.cluster_operator import ClusterOperator
from upwell.app.hardening.look import server_client
from upwell.app.hardening.served import read_served
from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.store.interface import StoreError

_SECONDS = 10.0
_NAME = "components"


async def check_components(data_dir: Path) -> Sequence[HostCheck]:
    """Return a warning for each component that is faulty; nothing while no server runs."""
    try:
        settings = await asyncio.to_thread(read_served, data_dir)
        if settings is None:
            return []
        async with asyncio.timeout(_SECONDS), server_client(data_dir, settings) as client:
            found = (await client.list(ClusterOperator)).items
    except (StoreError, OSError) as error:  # among them TimeoutError
        detail = f"the running server did not tell: {str(error) or 'no answer'}"
        remedy = "run it as the server's user; `upwell status -A` tells the same"
        return [HostCheck(_NAME, HostCheckStatus.WARN, detail, remedy)]
    return judge_components(found)


def judge_components(found: Sequence[ClusterOperator]) -> Sequence[HostCheck]:
    """Return a warning for each component that is faulty, or that none is."""
    faults = [(one.metadata.name, fault) for one in found if (fault := one.fault) is not None]
    if not faults:
        detail = f"{len(found)} of the running server, none of which is faulty"
        return [HostCheck(_NAME, HostCheckStatus.OK, detail)]
    return [
        HostCheck(
            f"component {name}",
            HostCheckStatus.WARN,
            f"{fault.reason}: {fault.message}",
            f"do as it says; `upwell describe clusteroperator {name}` tells since when",
        )
        for name, fault in faults
    ]
