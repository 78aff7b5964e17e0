"""Plans that the server is asked for."""

from upwell.api.codec import decode_as, encode
from upwell.api.waves.plan import ImpactPlan, ImpactPlanSpec, ImpactPlanStatus
from upwell.cli.core.errors import CommandError
from upwell.cli.waves.readable import named_wave
from upwell.store.interface import ApiClient, NotFoundError, RejectedError
from upwell.store.kubernetes_errors import StoreForbiddenError

_PLURAL = ImpactPlan.KIND.plural


async def asked_plan(client: ApiClient, namespace: str, spec: ImpactPlanSpec) -> ImpactPlanStatus:
    """Return the plan of a change.

    Raises CommandError where the server is too old to make one, or the Wave is gone.
    """
    body = encode(ImpactPlan(spec=spec).with_metadata(namespace=namespace))
    try:
        answer = await client.call("POST", ImpactPlan, namespace, "", "", body)
    except NotFoundError as error:
        if spec.wave:
            await named_wave(client, spec.wave)  # somebody may have deleted it meanwhile
        raise _older() from error
    except (RejectedError, StoreForbiddenError) as error:
        if _is_of_older(error):
            raise _older() from error
        raise
    return decode_as(ImpactPlan, answer).status


def _is_of_older(error: Exception) -> bool:
    """Return True if a server knows no such kind: its answer names the path, or says that."""
    return f"/{_PLURAL}" in str(error) or f"no resource '{_PLURAL}'" in str(error)


def _older() -> CommandError:
    return CommandError(
        "the server is older than this command, and makes no plans: upgrade the server, or use the"
        " upwell of its version"
    )
