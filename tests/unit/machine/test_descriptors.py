"""File descriptors: the limit is raised, and what is left is known."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from upwell.machine.descriptors import DescriptorUse, connection_room, descriptor_use

_RAISED = """
import resource
from upwell.machine.descriptors import raise_descriptor_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))
raise_descriptor_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_is_raised_as_far_as_it_may() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RAISED], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "(512, 512)"


@pytest.mark.parametrize(("limit", "room"), [(1024, 512), (resource.RLIM_INFINITY, 32_768)])
def test_connections_leave_half_of_them_for_the_servers_own_work(
    monkeypatch: pytest.MonkeyPatch, limit: int, room: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert connection_room() == room


def test_open_files_are_counted() -> None:
    before = descriptor_use()
    handle = os.open("/dev/null", os.O_RDONLY)
    try:
        assert descriptor_use().used == before.used + 1
    finally:
        os.close(handle)
    assert before.limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_none_is_left_where_none_can_be_had_to_look() -> None:
    assert descriptor_use(Path("/nowhere")).fault


@pytest.mark.parametrize(("used", "faulty"), [(0, False), (90, False), (91, True), (100, True)])
def test_few_that_are_left_are_a_fault(used: int, *, faulty: bool) -> None:
    assert bool(DescriptorUse(used, 100).fault) is faulty
