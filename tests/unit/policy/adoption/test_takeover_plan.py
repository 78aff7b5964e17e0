"""Plan of an adoption: method, order, and how far behind each image is."""

from dataclasses import replace

import pytest

from upwell.formats.compose.inspected import InspectedContainer
from upwell.formats.compose.model import ComposeService, MountKind, PublishedPort, ServiceMount
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.adoption.takeover import (
    AdoptionCandidate,
    CurrentUpstream,
    TakeoverMethod,
    adoption_order,
    plan_rows,
    refuse_same_names,
    with_shared_volumes,
)

OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def candidate(
    name: str = "web", upstream: CurrentUpstream | None = None, **fields: object
) -> AdoptionCandidate:
    service = replace(ComposeService(name, "docker.io/library/web:1"), **fields)  # type: ignore[arg-type]
    container = InspectedContainer(
        f"{name}-1", service, frozenset({OLD}), "2026-01-01T00:00:00Z", project="shop"
    )
    return AdoptionCandidate("podman", container, upstream or CurrentUpstream(OLD))


PORT = (PublishedPort(80, 8080),)
UDP = (PublishedPort(53, 53, protocol="udp"),)
VOLUME = (ServiceMount(MountKind.VOLUME, "/data", "data"),)


@pytest.mark.parametrize(
    ("one", "method"),
    [
        (candidate(), TakeoverMethod.BESIDE),
        (candidate(ports=PORT), TakeoverMethod.PORT),
        (candidate(ports=PORT, mounts=VOLUME), TakeoverMethod.STOP_FIRST),
        (candidate(ports=UDP), TakeoverMethod.STOP_FIRST),
        (candidate(upstream=CurrentUpstream(fault="gone")), TakeoverMethod.NEVER),
        (
            candidate(image="localhost/web:1", upstream=CurrentUpstream(fault="x")),
            TakeoverMethod.BESIDE,
        ),
        (candidate(image="sha256:1"), TakeoverMethod.NEVER),
    ],
)
def test_files_that_both_would_write_decide_the_method(
    one: AdoptionCandidate, method: TakeoverMethod
) -> None:
    assert one.method is method


def test_the_plan_says_how_far_behind_each_is() -> None:
    newer = CurrentUpstream(NEW, "2026-01-13T00:00:00Z")
    rows = plan_rows(
        [
            candidate(ports=PORT, upstream=newer),
            candidate("db", mounts=VOLUME, labels={"diun.enable": "true"}),
            candidate("dns", ports=UDP),
            candidate("x", upstream=CurrentUpstream(fault="no such image")),
        ]
    )
    assert [row[3:] for row in rows[1:]] == [
        ("12d (now bbbbbbbbbbbb)", "updated", "beside it, then port 8080 changes hands: about 1 s"),
        ("current", "told", "stopped first: its files are copied"),
        ("current", "updated", "stopped first: port 53/udp changes hands"),
        ("unknown", "-", "stays: its image cannot be pulled: no such image"),
    ]


def test_it_begins_with_what_runs_where_there_is_a_newer_image() -> None:
    newer = candidate(upstream=CurrentUpstream(NEW))
    known = replace(newer, container=replace(newer.container, digest=OLD))
    assert known.running_image == f"docker.io/library/web@{OLD}"
    assert newer.running_image == ""  # nobody knows its digest
    assert replace(known, upstream=CurrentUpstream(OLD)).running_image == ""


def test_what_others_depend_on_is_taken_over_first() -> None:
    found = adoption_order(
        [candidate("a", depends_on=("b",)), candidate("b", depends_on=("c",)), candidate("c")]
    )
    assert [one.name for one in found] == ["c", "b", "a"]
    circle = adoption_order([candidate("a", depends_on=("b",)), candidate("b", depends_on=("a",))])
    assert len(circle) == 2


def test_two_containers_of_one_name_are_refused() -> None:
    other = candidate("web")
    other = replace(other, container=replace(other.container, name="else"))
    with pytest.raises(AdoptionError, match="both become web"):
        refuse_same_names([candidate("web"), other])


def test_who_shares_a_volume_stays_where_it_is() -> None:
    one, other, alone = (
        replace(candidate(name).container, volumes=volumes)
        for name, volumes in (
            ("a", {"data": "/v/data"}),
            ("b", {"data": "/v/data"}),
            ("c", {"own": "/v/own"}),
        )
    )
    assert [found.obstacles for found in with_shared_volumes([one, other, alone])] == [
        ("shares volume data with b-1",),
        ("shares volume data with a-1",),
        (),
    ]
