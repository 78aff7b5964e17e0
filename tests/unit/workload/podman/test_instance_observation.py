"""Reports of Podman, in all its odd states, as an Instance."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from upwell.oci import Digest, Reference
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec, Owner, ProbeSpec, TcpProbe
from upwell.workload.interface import State
from upwell.workload.podman.containers.facts import ContainerFacts
from upwell.workload.podman.observation import ends_of, is_moved, observe
from upwell.workload.podman.records import InstanceRecord

OWNER = Owner("Deployment", "shop", "web")
START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(seconds=1)
IMAGE = Reference.parse("localhost/web")
PINNED = Digest.of(b"index")
LABELS = {
    "upwell.dev/replica": "web-1",
    "upwell.dev/owner-kind": "Deployment",
    "upwell.dev/owner-namespace": "shop",
    "upwell.dev/owner-name": "web",
    "upwell.dev/revision": "rev",
    "upwell.dev/restarts": "2",
}


def facts(name: str = "web", **changes: Any) -> ContainerFacts:
    base = ContainerFacts(
        id=f"id-{name}",
        labels={**LABELS, "upwell.dev/container": name},
        status="running",
        exit_code=0,
        out_of_memory=False,
        error="",
        created=START,
        started_at=START,
        address="10.0.0.2",
        image=PINNED,
    )
    changed = replace(base, **changes)
    ended = changed.status == "exited"
    return replace(changed, ended_at=LATER, exit_on_record=True) if ended else changed


def record(*names: str, readiness: ProbeSpec | None = None) -> InstanceRecord:
    containers = tuple(ContainerSpec(name, IMAGE, readiness=readiness) for name in names)
    return InstanceRecord.of(InstanceSpec("web-1", OWNER, "rev", containers), 2, START)


def test_without_a_probe_it_is_ready_since_its_start() -> None:
    later = START + timedelta(seconds=5)
    seen = observe([facts(), facts("b", started_at=later, address="")], record("web", "b"), {})
    assert (seen.state, seen.ready, seen.ready_since) == (State.RUNNING, True, later)
    assert (seen.owner, seen.revision, seen.restarts) == (OWNER, "rev", 2)
    assert (seen.address, seen.message, seen.probed) == ("10.0.0.2", "", False)


def test_with_a_probe_it_is_ready_once_that_was_noted() -> None:
    probed = record("web", readiness=ProbeSpec(TcpProbe(80)))
    waiting = observe([facts()], probed, {"id-web": "readiness probe: refused"})
    assert (waiting.state, waiting.ready) == (State.RUNNING, False)
    assert waiting.message == "container web: readiness probe: refused"
    assert observe([facts()], probed, {}).message == "container web: not probed yet"

    noted = START + timedelta(seconds=9)
    ready = observe([facts()], probed.with_readiness("id-web", noted), {})
    assert (ready.ready, ready.ready_since, ready.probed) == (True, noted, True)


def test_one_container_without_a_probe_makes_an_instance_that_is_not_probed() -> None:
    probe = ProbeSpec(TcpProbe(80))
    web = ContainerSpec("web", IMAGE, startup=probe)
    both = InstanceSpec("web-1", OWNER, "rev", (web, ContainerSpec("b", IMAGE, liveness=probe)))
    alone = replace(both, containers=(web,))

    assert not observe([facts(), facts("b")], InstanceRecord.of(both, 0, START), {}).probed
    assert observe([facts()], InstanceRecord.of(alone, 0, START), {}).probed


def test_readiness_of_a_former_container_does_not_count() -> None:
    probed = record("web", readiness=ProbeSpec(TcpProbe(80))).with_readiness("id-former", START)
    assert not observe([facts()], probed, {}).ready


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"exit_code": 3, "last_lines": "no db"}, "container web exited 3: no db"),
        ({"exit_code": 137}, "container web exited 137 (signal 9)"),
        (
            {"exit_code": 137, "out_of_memory": True},
            "container web was killed for using more memory than its limit",
        ),
    ],
)
def test_an_end_says_how(changes: dict[str, Any], expected: str) -> None:
    seen = observe([facts(status="exited", **changes), facts("b")], record("web", "b"), {})
    assert (seen.state, seen.ready, seen.address) == (State.EXITED, False, "")
    assert seen.message == expected


def test_why_we_ended_it_comes_first() -> None:
    failed = replace(record("web"), failure="liveness probe failed")
    seen = observe([facts(status="exited", exit_code=143)], failed, {})
    assert seen.message == "liveness probe failed; container web exited 143 (signal 15)"


def test_an_instance_of_which_a_container_is_missing_is_not_running() -> None:
    seen = observe([facts()], record("web", "sidecar"), {})
    assert (seen.state, seen.ready, seen.start_error) == (State.CREATED, False, "")


def test_a_container_that_could_not_start_says_why() -> None:
    seen = observe([facts(status="created", started_at=None, error="no /bin/x")], None, {})
    assert (seen.state, seen.message) == (State.CREATED, "container web: no /bin/x")
    assert seen.start_error == seen.message


@pytest.mark.parametrize("status", ["paused", "stopping"])
def test_one_that_cannot_answer_is_not_ready(status: str) -> None:
    seen = observe([facts(status=status)], record("web"), {})
    assert (seen.state, seen.ready) == (State.RUNNING, False)
    assert seen.message == f"container web is {status}"


def inspected(**changes: Any) -> dict[str, Any]:
    state = {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "StartedAt": "2026-01-01T01:00:00.123456789+01:00",
    }
    return {
        "Id": "abc",
        "Config": {"Labels": LABELS},
        "State": state,
        "Created": "2026-01-01T00:00:00Z",
        "NetworkSettings": {"Networks": {"n": {"IPAddress": "10.1.2.3"}}},
        "ImageName": f"localhost/web@{PINNED}",
        "ImageDigest": str(Digest.of(b"manifest")),
        **changes,
    }


@pytest.mark.parametrize(
    ("label", "paths"),
    [('["/data", "/var/lib"]', ("/data", "/var/lib")), ("", ()), ("[", ()), ("7", ())],
)
def test_kept_volumes_that_are_mounts_are_told_by_a_label(
    label: str, paths: tuple[str, ...]
) -> None:
    labelled = {"Labels": {**LABELS, "upwell.dev/kept-volumes": label}}
    mounts = [{"Type": "bind", "Destination": "/data", "Source": "/run/pins/0"}]
    assert ContainerFacts.parse(inspected(Config=labelled, Mounts=mounts)).kept == paths


def test_times_addresses_and_digests_are_read() -> None:
    parsed = ContainerFacts.parse(inspected())
    assert parsed.started_at == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert (parsed.address, parsed.image) == ("10.1.2.3", PINNED)


def test_an_image_started_by_tag_has_the_digest_of_its_manifest() -> None:
    by_tag = ContainerFacts.parse(inspected(ImageName="localhost/web:latest"))
    assert by_tag.image == Digest.of(b"manifest")
    assert ContainerFacts.parse(inspected(ImageName="", ImageDigest="")).image is None


def test_a_container_that_never_started_has_no_time_and_may_have_no_network() -> None:
    never = {**inspected()["State"], "StartedAt": "0001-01-01T00:00:00Z"}
    parsed = ContainerFacts.parse(inspected(State=never, NetworkSettings=None))
    assert (parsed.started_at, parsed.address) == (None, "")


# what Podman 5.4 said of one container each time, before and after power cuts
RAN = {
    "OOMKilled": False,
    "StartedAt": "2026-11-26T20:43:23.642625683Z",
    "Error": "",
}
NEVER = "0001-01-01T00:00:00Z"
RUNS = {**RAN, "Status": "running", "ExitCode": 0, "FinishedAt": NEVER, "Pid": 83, "ConmonPid": 82}
RUNTIME_FOLDER_WIPED = {**RAN, "Status": "exited", "ExitCode": 0, "FinishedAt": NEVER, "Pid": 0}
MONITOR_KILLED_THEN_STOPPED = {
    **RAN,
    "Status": "stopped",
    "ExitCode": -1,
    "FinishedAt": "2026-11-26T20:45:36.638045569Z",
}
OF_AN_EARLIER_START = {
    **RAN,
    "Status": "exited",
    "ExitCode": 0,
    "FinishedAt": "2026-11-26T20:13:23.64Z",
}
# Podman notes the start when the process may have ended already.
ENDED_AT_ONCE = {
    **RAN,
    "Status": "exited",
    "ExitCode": 0,
    "FinishedAt": "2026-11-26T20:43:23.610000000Z",
}
KILLED = {
    **RAN,
    "Status": "exited",
    "ExitCode": 137,
    "FinishedAt": "2026-11-26T20:43:28.585837945Z",
}


def said(state: dict[str, Any], *, gone: bool = False, name: str = "web") -> ContainerFacts:
    labels = {**LABELS, "upwell.dev/container": name}
    parsed = ContainerFacts.parse(inspected(State=state, Config={"Labels": labels}))
    return replace(parsed, gone=gone)


def once(*names: str, sidecars: frozenset[str] = frozenset(), losses: int = 0) -> InstanceRecord:
    containers = tuple(ContainerSpec(one, IMAGE, sidecar=one in sidecars) for one in names)
    spec = InstanceSpec("web-1", OWNER, "rev", containers, once=True)
    return InstanceRecord.of(spec, 2, START, losses)


@pytest.mark.parametrize(
    ("state", "gone"),
    [
        (RUNTIME_FOLDER_WIPED, False),
        (RUNS, True),
        ({**RUNS, "Status": "stopping"}, True),
        (MONITOR_KILLED_THEN_STOPPED, False),
        (OF_AN_EARLIER_START, False),
    ],
)
@pytest.mark.parametrize("noted", [record("web"), once("web"), None])
def test_an_end_without_evidence_is_a_loss(
    state: dict[str, Any], noted: InstanceRecord | None, *, gone: bool
) -> None:
    seen = observe([said(state, gone=gone)], noted, {})
    assert (seen.state, seen.ready, seen.succeeded) == (State.LOST, False, False)
    assert (dict(seen.exit_codes), seen.losses, seen.restarts) == ({}, 1, 2)
    [container] = seen.containers
    assert (container.lost, container.running) == (True, False)
    assert (container.exit_code, container.ended_at) == (None, None)
    assert "how it ended is unknown" in seen.message


@pytest.mark.parametrize(("state", "code"), [(ENDED_AT_ONCE, 0), (KILLED, 137)])
def test_an_end_with_its_finish_time_counts(state: dict[str, Any], code: int) -> None:
    seen = observe([said(state)], once("web"), {})
    assert (seen.state, seen.succeeded) == (State.EXITED, code == 0)
    assert (dict(seen.exit_codes), seen.losses) == ({"web": code}, 0)


def test_what_has_a_process_of_its_own_runs() -> None:
    parsed = said(RUNS)
    assert (parsed.pid, parsed.monitor_pid, parsed.claims_process) == (83, 82, True)
    seen = observe([parsed], record("web"), {})
    assert (seen.state, seen.losses) == (State.RUNNING, 0)
    assert not said(KILLED).claims_process


def test_a_loss_outweighs_no_failure_that_is_known() -> None:
    wiped = said(RUNTIME_FOLDER_WIPED, name="db")
    seen = observe([said({**KILLED, "ExitCode": 1}), wiped], once("web", "db"), {})
    assert (seen.state, dict(seen.exit_codes)) == (State.EXITED, {"web": 1})
    seen = observe([said(ENDED_AT_ONCE), wiped], once("web", "db"), {})
    assert (seen.state, seen.succeeded) == (State.LOST, False)


def test_a_result_counts_although_what_stood_beside_it_is_lost() -> None:
    beside = once("web", "db", sidecars=frozenset({"db"}))
    wiped = said(RUNTIME_FOLDER_WIPED, name="db")
    assert observe([said(ENDED_AT_ONCE), wiped], beside, {}).succeeded


def test_a_lost_init_container_has_not_ended_well() -> None:
    first = replace(said(RUNTIME_FOLDER_WIPED), labels={**LABELS, "upwell.dev/init": "0"})
    assert observe([first, facts("b", status="created", started_at=None)], None, {}).state is (
        State.LOST
    )


def test_losses_in_a_row_are_told() -> None:
    seen = observe([said(RUNTIME_FOLDER_WIPED)], once("web", losses=2), {})
    assert seen.losses == 3
    assert seen.message.endswith("lost 3 times in a row")
    assert observe([said(RUNS)], once("web", losses=2), {}).losses == 2


@pytest.mark.parametrize(
    ("hosts", "moved"),
    [
        ("", False),
        ("/data/workloads/instances/web-1/hosts", False),
        ("/old/workloads/instances/web-1/hosts", True),
        ("/srv/users/own/hosts", False),
    ],
)
def test_files_in_another_data_folder_are_noticed(hosts: str, moved: bool) -> None:  # noqa: FBT001
    found = facts(hosts=hosts)
    assert found.instance == "web-1"
    assert is_moved([found], Path("/data/workloads/instances")) is moved


def test_a_link_in_the_place_of_the_old_folder_is_no_move(tmp_path: Path) -> None:
    (tmp_path / "new" / "instances").mkdir(parents=True)
    (tmp_path / "old").symlink_to(tmp_path / "new")
    found = facts(hosts=str(tmp_path / "old" / "instances" / "web-1" / "hosts"))
    assert not is_moved([found], tmp_path / "new" / "instances")


def test_a_container_ends_after_its_start_though_podman_notes_the_start_late() -> None:
    late = LATER + timedelta(milliseconds=3)
    seen = observe([facts(status="exited", started_at=late, exit_code=3)], record("web"), {})
    assert [(one.started_at, one.ended_at) for one in seen.containers] == [(late, late)]


def test_a_container_tells_how_the_one_before_it_ended() -> None:
    ended = facts(id="id-0", status="exited", exit_code=137, out_of_memory=True)
    first = record("web", "b")
    again = replace(first, ends=ends_of([ended, facts("b")], first))

    web, b = observe([facts(), facts("b")], again, {}).containers

    assert web.previous is not None
    assert b.previous is None
    assert (web.previous.id, web.previous.exit_code) == ("id-0", 137)
    assert (web.previous.started_at, web.previous.ended_at) == (START, LATER)
    assert web.previous.out_of_memory


def test_a_start_that_was_cut_short_forgets_no_end() -> None:
    first = record("web")
    begun = replace(first, ends=ends_of([facts(status="exited", exit_code=3)], first))
    created = facts(status="created", started_at=None)
    lost = facts(gone=True)
    assert ends_of([], begun) == ends_of([created], begun) == ends_of([lost], begun) == begun.ends
