"""Ranges of ids: nobody else's, and large enough for what instances name."""

import errno
import os
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.values.security_context import ContainerSecurity, VolumeGroup
from upwell.oci import Reference
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner
from upwell.workload.podman.users.ids import IDS, OwnIds, TooManyIdsError, assigned, named_ids
from upwell.workload.podman.users.namespaces import mapped_ids, refusal
from upwell.workload.podman.users.support import NOT_ROOT, id_fault

BUILDS = range(1_900_000_000, 1_900_065_536)
DIRECTORY_SERVICES = range(200_000, 2_000_200_001)
SYSTEMD_FOREIGN = range(2_147_352_576, 2_147_418_112)


def outside(ids: OwnIds) -> set[int]:
    return {one for found in ids.ranges for one in (found.outside, found.outside + found.count - 1)}


@given(
    st.text(max_size=8),
    st.lists(st.sets(st.integers(IDS, 2**31 - 1), max_size=64), min_size=2, max_size=12),
)
def test_no_two_instances_share_an_id(upwell: str, wanted: list[set[int]]) -> None:
    given_out: list[OwnIds] = []
    for more in wanted:
        ids = assigned(upwell, {one.first for one in given_out}, more)
        assert ids is not None
        assert {found.inside for found in ids.ranges} == {0, *more}
        given_out.append(ids)
    taken = sorted((one.outside, one.count) for ids in given_out for one in ids.ranges)
    for (first, count), (following, _) in pairwise(taken):
        assert first + count <= following


def test_the_ids_are_those_of_nobody_else() -> None:
    used: set[int] = set()
    while (ids := assigned("u", used, [2**31 - 1])) is not None:
        used.add(ids.first)
        for one in outside(ids):
            assert 2**31 > one > max(BUILDS[-1], DIRECTORY_SERVICES[-1])
            assert one < SYSTEMD_FOREIGN[0]
    assert len(used) > 2048  # as many containers as Podman has locks for


def test_an_id_that_is_free_again_is_given_out_again() -> None:
    first = assigned("u", (), ())
    assert first is not None
    assert assigned("u", {first.first}, ()) != first
    assert assigned("u", (), ()) == first
    assert assigned("another", (), ()) != first


def test_more_ids_than_can_be_mapped_are_refused() -> None:
    with pytest.raises(TooManyIdsError):
        assigned("u", (), range(IDS, IDS + 65))


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("unshare: unshare failed: Operation not permitted\n", errno.EPERM),
        ("mount: /proc: permission denied.\n  dmesg(1) may have more\n", errno.EPERM),
        ("unshare: unshare failed: No space left on device\n", errno.ENOSPC),
        ("unshare: fork failed: Resource temporarily unavailable\n", errno.EAGAIN),
        ("", errno.EPERM),
    ],
)
def test_a_lack_of_room_is_no_word_about_the_machine(said: str, number: int) -> None:
    assert refusal(said).errno == number


def test_a_trial_that_was_killed_is_no_word_about_the_machine() -> None:
    assert refusal("", -signal.SIGKILL).errno == errno.EAGAIN
    assert refusal("", -signal.SIGSYS).errno == errno.EPERM


async def test_a_switch_of_the_kernel_is_told(tmp_path: Path) -> None:
    limit = tmp_path / "limit"
    limit.write_text("0\n")
    fault = await id_fault(tmp_path, limit)
    assert fault == NOT_ROOT if os.geteuid() else "max_user_namespaces" in fault


def test_every_id_that_is_named_is_mapped() -> None:
    image = Reference.parse("localhost/web")
    security = ContainerSecurity(user=1_000_680_000, group=70_000, groups=(80_000, 5))
    web = ContainerSpec("web", image, security=security)
    init = ContainerSpec("init", image)
    spec = InstanceSpec("web-1", Owner("Deployment", "shop", "web"), "rev", (web,), (init,))
    spec = replace(spec, volume_group=VolumeGroup(90_000))

    found = named_ids(spec, ["", "app", "100000:100001", "²"])
    assert found == {1_000_680_000, 70_000, 80_000, 5, 90_000, 100_000, 100_001}


def test_a_user_of_an_image_that_no_machine_has_is_the_runtimes_to_refuse() -> None:
    web = ContainerSpec("web", Reference.parse("localhost/web"))
    spec = InstanceSpec("web-1", Owner("Deployment", "shop", "web"), "rev", (web,))
    assert named_ids(spec, ["9" * 5000, "4294967295:9999999999", "4294967294"]) == {4294967294}


def test_ranges_of_another_servers_instances_are_not_given_out(tmp_path: Path) -> None:
    own = assigned("u", (), ())
    assert own is not None
    for process, lines in (("7", "0 0 4294967295"), ("8", f"0 {own.first} 65536\n70000 9 1")):
        (tmp_path / process).mkdir()
        (tmp_path / process / "uid_map").write_text(f"{lines}\n")
    (tmp_path / "9").mkdir()

    mapped = mapped_ids(tmp_path)
    assert mapped == {0, own.first, 9}
    assert assigned("u", mapped, ()) != own
    assert 0 in mapped_ids()
