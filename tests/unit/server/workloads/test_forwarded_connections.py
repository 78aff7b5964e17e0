"""Connections to ports of instances, of which a client may have so many at once."""

from contextlib import ExitStack

import pytest

from upwell.server.http.limits import ServerLimits
from upwell.server.workloads.port_forward import OpenForwards
from upwell.workload.errors import UnreachableError

LIMITS = ServerLimits(forwards=3, forwards_per_client=2)


def test_a_client_has_a_part_of_them() -> None:
    forwards = OpenForwards(LIMITS)
    with ExitStack() as stack:
        for client in ("token a", "token a", "token b"):
            stack.enter_context(forwards.counted(client))
        with pytest.raises(UnreachableError, match="token a has 2 forwarded connections: close"):
            stack.enter_context(forwards.counted("token a"))
        with pytest.raises(UnreachableError, match="too many connections are forwarded"):
            stack.enter_context(forwards.counted("token b"))
    with forwards.counted("token a"), forwards.counted("token b"):
        pass
