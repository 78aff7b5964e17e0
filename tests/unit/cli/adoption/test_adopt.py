"""`upwell adopt`: the plan, the takeover, and the old container back when it fails."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from upwell.api.apps import Deployment, RevisionRecord, WorkloadStatus
from upwell.api.meta import Condition, Resource
from upwell.cli.adoption.engines import Engine, OldContainer
from upwell.cli.adoption.recorded import RecordedTakeover, cut_off, under_way
from upwell.machine import clock

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

ENGINE = """\
#!/bin/sh
cd {folder}
case "$1 $2" in
  "ps --quiet") [ ! -f down ] || {{ cat down >&2; exit 1; }}; cat ids ;;
  "container inspect") echo a warning >&2; cat containers.json ;;
  "image inspect") cat image.json ;;
  "volume inspect") cat volume ;;
  "start "*) echo "$@" >> calls; [ ! -s busy ] || {{ sed -i 1d busy; echo port in use; exit 1; }} ;;
  *) echo "$@" >> calls ;;
esac
"""
SYSTEMCTL = """\
#!/bin/sh
cd {folder}
if [ "$1" = show ]; then [ ! -f show ] || cat show; else echo systemctl "$@" >> calls; fi
"""


def container(name: str, at: int, **host: Any) -> dict[str, Any]:
    return {
        "Id": f"{at:064x}",
        "Name": name,
        "Image": "i",
        "ImageName": f"registry.test/{name}:1",
        "Config": {"Labels": {}},
        "HostConfig": {"RestartPolicy": {"Name": "always"}, **host},
        "Mounts": [],
    }


class EngineProgram:
    """A program `podman` that prints what is in files, and notes what else it is asked."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.run(container("web", 1, PortBindings={"80/tcp": [{"HostPort": str(port)}]}))
        (folder / "image.json").write_text('[\n{"Config": {}}\n]\n')

    def run(self, *containers: dict[str, Any]) -> None:
        """Have these containers run."""
        ids = "".join(f"{one['Id']}\n" for one in containers)
        (self.folder / "ids").write_text(ids)
        text = json.dumps(containers)[1:-1]
        (self.folder / "containers.json").write_text(f"[\n{text}\n]\n")

    @property
    def calls(self) -> list[str]:
        """Return what it was asked to do, in order."""
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def router() -> Iterator[socket.socket]:
    """Listen at a port of the machine, as the router does once the old container has stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, router: socket.socket) -> EngineProgram:
    program = tmp_path / "bin" / "podman"
    program.parent.mkdir()
    program.write_text(ENGINE.format(folder=tmp_path))
    program.chmod(0o755)
    systemctl = program.with_name("systemctl")
    systemctl.write_text(SYSTEMCTL.format(folder=tmp_path))
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("upwell.cli.adoption.engines.PROGRAMS", ("podman",))
    monkeypatch.setattr("upwell.cli.adoption.quadlets.FOLDERS", (tmp_path / "quadlets",))
    monkeypatch.setattr("upwell.cli.adoption.quadlets.UNITS", tmp_path / "units")
    return EngineProgram(tmp_path, router.getsockname()[1])


@pytest.fixture
def serving(client: "FakeClient", monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have each Deployment end its rollout at once; the result is how: `Complete`, `Failed`.

    `NoImage` ends one that is held until the container has stopped: its image cannot be pulled.
    """
    ends = ["Complete"]
    apply = client.apply

    async def apply_and_end(document: Any, **options: Any) -> tuple[Resource, Any]:
        applied, warnings = await apply(document, **options)
        if isinstance(applied, Deployment) and not options.get("dry_run"):
            record = RevisionRecord(
                revision=1,
                hash="h",
                template=applied.spec.template,
                created=clock.now(),
                phase="Failed" if ends[0] == "NoImage" else ends[0],
                message="it ended",
            )
            started = document["metadata"].get("annotations", {}).get("upwell.dev/takeover-start")
            held = started == "held" and ends[0] != "NoImage"
            reason = "HeldForTakeover" if held else "NewReplicaSetAvailable"
            conditions = (
                Condition(type="Available", status="True"),
                Condition(type="Progressing", status="True", reason=reason),
            )
            status = WorkloadStatus(
                observed_generation=applied.metadata.generation,
                replicas=1,
                ready_replicas=1,
                updated_replicas=1,
                available_replicas=1,
                conditions=conditions,
                revisions=() if held else (record,),
            )
            if not applied.status.revisions:
                await client.update_status(applied.with_status(status))
        return applied, warnings

    monkeypatch.setattr(client, "apply", apply_and_end)
    return ends


@pytest.fixture(autouse=True)
def images(client: "FakeClient", monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server find every image."""
    create = client.create

    async def look(resource: Any) -> Any:
        if resource.KIND.kind != "ImageStreamImport":
            return await create(resource)
        image = {"metadata": {"name": f"sha256:{'b' * 64}"}, "dockerImageMetadata": {}}
        return resource.model_copy(update={"status": {"images": [{"image": image}]}})

    monkeypatch.setattr(client, "create", look)


def test_the_plan_changes_nothing(
    upwell: Upwell, engine: EngineProgram, router: socket.socket
) -> None:
    result = upwell("adopt", "--dry-run")
    assert result.exit_code == 0, result.stderr
    title, web = result.stdout.splitlines()
    assert title.split()[:2] == ["SERVICE", "CONTAINER"]
    assert f"port {router.getsockname()[1]} changes hands" in web
    assert engine.calls == []
    assert "--yes begins" in upwell("adopt").stderr


@pytest.mark.usefixtures("serving")
def test_the_old_container_stops_once_the_new_instance_is_ready(
    upwell: Upwell, engine: EngineProgram
) -> None:
    result = upwell("adopt", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "deployment.apps/web created" in result.stdout
    assert engine.calls == ["stop web", "update --restart=no web"]
    assert not cut_off()


@pytest.mark.usefixtures("serving")
def test_what_was_cut_off_before_the_new_instance_served_is_given_back(
    upwell: Upwell, engine: EngineProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = engine.folder / "data/workloads/claims/default/rows"
    copy.mkdir(parents=True)
    takeover = RecordedTakeover(
        began="2026-01-01T00:00:00+00:00",
        program="podman",
        container=OldContainer("old", restart="always"),
        namespace="default",
        name="old",
        data_dir=str(engine.folder / "data"),
        copies=[str(copy)],
        documents=[],
    )
    with under_way(takeover):
        assert not cut_off()
    told = upwell("adopt")
    assert "old: its takeover of podman/old was cut off (2026-01-01T00:00:00" in told.stderr
    assert "`upwell adopt --yes` ends it first" in told.stderr
    assert engine.calls == []

    with monkeypatch.context() as gone:
        gone.setattr("upwell.cli.adoption.takeover.BACK_SECONDS", 0)
        refused = upwell("adopt", "--yes")
        assert refused.exit_code == 1
        assert f"`rm {takeover.path}` forgets it" in refused.stderr
    assert cut_off() == [takeover]

    result = upwell("adopt", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "old: given back, podman/old" in result.stderr
    assert engine.calls[0] == "start old"
    assert not copy.exists()
    assert not cut_off()


@pytest.mark.parametrize("names", [(), ("web",)])
@pytest.mark.usefixtures("serving")
def test_what_was_cut_off_once_the_new_instance_served_is_ended(
    upwell: Upwell,
    engine: EngineProgram,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(RecordedTakeover, "forget", lambda _: None)
        assert upwell("adopt", "--yes").exit_code == 0
    [left] = cut_off()
    assert left.container == OldContainer("web", restart="always")
    engine.run()
    before = len(engine.calls)

    result = upwell("adopt", *names, "--yes")
    assert result.exit_code == 0, result.stderr
    assert "web: adopted; `podman rm web`" in result.stderr
    assert engine.calls[before:] == ["stop web", "update --restart=no web"]
    assert "deployment.apps/web unchanged" in result.stdout
    assert not cut_off()


@pytest.mark.usefixtures("serving")
def test_what_serves_is_ended_while_an_update_of_it_has_failed(
    upwell: Upwell, engine: EngineProgram, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(RecordedTakeover, "forget", lambda _: None)
        assert upwell("adopt", "--yes").exit_code == 0
    web = asyncio.run(client.get(Deployment, "default", "web"))
    [served] = web.status.revisions
    failed = served.model_copy(update={"revision": 2, "hash": "i", "phase": "Failed"})
    status = web.status.model_copy(update={"revisions": (failed, served)})
    asyncio.run(client.update_status(web.with_status(status)))
    engine.run()

    result = upwell("adopt", "--yes")
    assert "web: adopted; `podman rm web`" in result.stderr
    assert not [one for one in engine.calls if one.startswith("start ")]


@pytest.mark.usefixtures("serving")
def test_a_takeover_is_not_forgotten_before_the_old_container_starts_no_more(
    upwell: Upwell, engine: EngineProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[bool] = []
    retire = Engine.retire

    async def look_and_retire(self: Engine, container: OldContainer) -> None:
        known.append(takeover.path.exists())
        await retire(self, container)

    monkeypatch.setattr(Engine, "retire", look_and_retire)
    with monkeypatch.context() as killed:
        killed.setattr(RecordedTakeover, "forget", lambda _: None)
        takeover = RecordedTakeover("", "podman", OldContainer("web"), "default", "web", "", [], [])
        assert upwell("adopt", "--yes").exit_code == 0
    engine.run()
    upwell("adopt", "--yes")
    assert known == [True, True]
    assert not cut_off()


@pytest.mark.usefixtures("serving")
def test_the_record_outlives_a_disk_that_is_full_while_a_takeover_is_ended(
    upwell: Upwell, engine: EngineProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    takeover = RecordedTakeover(
        "2026-01-01", "podman", OldContainer("old"), "default", "old", "/nowhere", [], []
    )
    with under_way(takeover):
        pass

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("upwell.cli.adoption.recorded.os.fsync", full)
    assert "old: given back" in upwell("adopt", "old", "--yes").stderr
    assert engine.calls == ["start old"]


@pytest.mark.usefixtures("serving")
def test_the_old_container_runs_again_where_its_port_does_not_answer(
    upwell: Upwell, engine: EngineProgram, router: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.cli.adoption.takeover.PORT_SECONDS", 0.01)
    router.close()
    result = upwell("adopt", "--yes")
    assert result.exit_code == 5
    assert "web: its ports are not served after 0.01 s" in result.stderr
    assert engine.calls[-1] == "start web"


@pytest.mark.usefixtures("serving")
def test_it_begins_with_what_runs_and_follows_then(
    upwell: Upwell, engine: EngineProgram, client: "FakeClient"
) -> None:
    running = container("web", 1) | {"ImageDigest": f"sha256:{'a' * 64}"}
    engine.run(running)
    result = upwell("adopt", "--yes", "--snapshot")
    assert result.stdout.splitlines()[-1] == "deployment.apps/web configured"
    web = asyncio.run(client.get(Deployment, "default", "web"))
    (first,) = web.status.revisions
    assert first.template.spec.containers[0].image == f"registry.test/web@sha256:{'a' * 64}"
    assert '"web:1"' in web.annotations["image.openshift.io/triggers"]
    assert web.annotations["upwell.dev/snapshot-volumes"] == "true"


@pytest.mark.usefixtures("serving")
def test_what_is_only_watched_stays_at_the_image_that_runs(
    upwell: Upwell, engine: EngineProgram, client: "FakeClient"
) -> None:
    running = container("web", 1) | {"ImageDigest": f"sha256:{'a' * 64}"}
    running["Config"]["Labels"] = {"com.centurylinklabs.watchtower.monitor-only": "true"}
    engine.run(running)
    result = upwell("adopt", "--yes")
    assert result.exit_code == 0, result.stderr
    web = asyncio.run(client.get(Deployment, "default", "web"))
    assert web.spec.template.spec.containers[0].image == f"registry.test/web@sha256:{'a' * 64}"
    (followed,) = json.loads(web.annotations["image.openshift.io/triggers"])
    assert (followed["from"]["name"], followed["paused"]) == ("web:1", True)


def test_the_old_container_is_never_stopped_when_the_new_one_fails(
    upwell: Upwell, engine: EngineProgram, serving: list[str]
) -> None:
    serving[0] = "Failed"
    result = upwell("adopt", "--yes")
    assert result.exit_code == 1
    assert "given back" in result.stderr
    assert engine.calls == []
    assert upwell("get", "deployments", "-o", "name").stdout == ""


@pytest.mark.usefixtures("engine")
def test_what_never_gets_ready_is_told_with_its_reason(upwell: Upwell, serving: list[str]) -> None:
    serving[0] = "Progressing"
    result = upwell("adopt", "--yes", "--timeout=1s")
    assert result.exit_code == 5
    assert "the new instance is not ready after 1 s: revision 1: 1 of 1 updated" in result.stderr


def test_a_volume_is_copied_and_a_failure_starts_the_old_container_again(
    upwell: Upwell,
    engine: EngineProgram,
    serving: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "rows").write_text("1")
    stored = container("db", 2)
    stored["Mounts"] = [
        {"Type": "volume", "Name": "rows", "Source": f"{tmp_path}/volume", "Destination": "/d"}
    ]
    engine.run(stored)
    data = tmp_path / "data"
    data.mkdir()

    serving[0] = "Failed"
    (tmp_path / "busy").write_text("the router has its port for a moment\n")
    monkeypatch.setattr("upwell.cli.adoption.takeover.RETRY_SECONDS", 0)
    failed = upwell("adopt", "--yes", "--data-dir", str(data))
    assert failed.exit_code == 1
    assert "given back" in failed.stderr
    assert engine.calls == ["stop db", "start db", "start db"]
    copy = data / "workloads/claims/default/rows"
    kept = data / "workloads/given-back/default/rows"
    assert f"{kept} is a copy of the volume, which nothing uses: `rm -r {kept}`" in failed.stderr
    assert (kept / "rows").read_text() == "1"
    copy.mkdir()
    (copy / "other").touch()
    second = upwell("adopt", "--yes", "--data-dir", str(data))
    assert f"`mv {copy} {copy}.before` puts them aside" in second.stderr
    (copy / "other").unlink()
    serving[0] = "Complete"
    assert upwell("adopt", "--yes", "--data-dir", str(data)).exit_code == 0
    assert (copy / "rows").read_text() == "1"


@pytest.fixture
def stored(engine: EngineProgram) -> Path:
    """Have a container with a volume; the result is the data folder for its copy."""
    (engine.folder / "volume").mkdir()
    (engine.folder / "volume" / "rows").write_text("1")
    one = container("db", 2)
    source = f"{engine.folder}/volume"
    one["Mounts"] = [{"Type": "volume", "Name": "rows", "Source": source, "Destination": "/d"}]
    engine.run(one)
    data = engine.folder / "data"
    data.mkdir()
    return data


def test_a_container_is_not_stopped_before_the_images_of_its_successor_are_there(
    upwell: Upwell, engine: EngineProgram, serving: list[str], stored: Path
) -> None:
    serving[0] = "NoImage"
    result = upwell("adopt", "--yes", "--data-dir", str(stored))
    assert result.exit_code == 1
    assert "db: given back, podman/db runs" in result.stderr
    assert engine.calls == []
    assert not [*stored.rglob("rows")]
    assert upwell("get", "deployments", "-o", "name").stdout == ""


def test_a_container_is_not_stopped_where_the_disk_has_no_room_for_its_volumes(
    upwell: Upwell,
    engine: EngineProgram,
    serving: list[str],
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as small:
        small.setattr("upwell.cli.adoption.volume_copies.default_floor", lambda size: size)
        result = upwell("adopt", "--yes", "--data-dir", str(stored))
    assert result.exit_code == 1
    assert "db: nothing was stopped: its volumes take 1 MiB, and are copied to" in result.stderr
    assert engine.calls == []
    assert serving == ["Complete"]
    assert upwell("get", "deployments", "-o", "name").stdout == ""


@pytest.mark.usefixtures("serving")
def test_nobody_is_told_of_a_service_until_it_is_taken_over(
    upwell: Upwell, stored: Path, client: "FakeClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[tuple[str, bool]] = []
    apply = client.apply

    async def noted(document: Any, **options: Any) -> tuple[Resource, Any]:
        if document["kind"] == "Deployment" and not options.get("dry_run"):
            given = document["metadata"].get("annotations", {})
            until = given.get("upwell.dev/takeover-until")
            start = given.get("upwell.dev/takeover-start", "")
            is_quiet = until is not None and datetime.fromisoformat(until) > clock.now()
            marks.append((start if start in {"", "held"} else "at a time", is_quiet))
        return await apply(document, **options)

    monkeypatch.setattr(client, "apply", noted)
    assert upwell("adopt", "--yes", "--data-dir", str(stored)).exit_code == 0
    assert marks == [("held", True), ("at a time", True), ("", False)]


def test_to_watch_lets_all_run_on(upwell: Upwell, engine: EngineProgram) -> None:
    result = upwell("adopt", "--watch", "--yes")
    assert result.stdout.splitlines()[2:] == ["imagestream.image.openshift.io/web created"]
    assert engine.calls == []


def test_a_container_that_does_not_run_is_named(upwell: Upwell, engine: EngineProgram) -> None:
    result = upwell("adopt", "wbe")
    assert result.exit_code == 2
    assert (
        "no container wbe runs here, nor is there a Quadlet of it; there are: web" in result.stderr
    )
    engine.run()
    assert "nothing to adopt" in upwell("adopt").stderr


def test_an_engine_that_does_not_answer_is_named(upwell: Upwell, engine: EngineProgram) -> None:
    (engine.folder / "down").write_text("permission denied\n")
    result = upwell("adopt")
    assert result.exit_code == 1
    assert "what runs in podman is not seen: `podman ps`: permission denied" in result.stderr


@pytest.mark.usefixtures("serving")
def test_a_container_that_a_unit_runs_is_stopped_by_its_unit(
    upwell: Upwell, engine: EngineProgram
) -> None:
    argv = "/usr/bin/podman run --rm --name web registry.test/web:1"
    shown = (
        f"Id=shop.service\nExecStart={{ path=/usr/bin/podman ; argv[]={argv} ; ignore_errors=no }}"
    )
    (engine.folder / "show").write_text(shown)
    engine.run(container("web", 1, AutoRemove=True))
    assert upwell("adopt", "--yes").exit_code == 0
    assert engine.calls == ["systemctl stop shop.service", "systemctl mask shop.service"]


@pytest.fixture
def quadlet(engine: EngineProgram) -> Path:
    """Have a Quadlet with a volume that does not run."""
    engine.run()
    (engine.folder / "data").mkdir()
    volume = engine.folder / "rows"
    volume.mkdir()
    (volume / "row").write_text("1")
    (engine.folder / "volume").write_text(f"{volume}\n")
    file = engine.folder / "quadlets" / "db.container"
    file.parent.mkdir()
    file.write_text("[Container]\nImage=registry.test/db:1\nVolume=rows:/rows\n")
    return file


def test_a_quadlet_that_does_not_run_is_started_on_its_volume(
    upwell: Upwell, engine: EngineProgram, serving: list[str], quadlet: Path
) -> None:
    data = ("--data-dir", str(engine.folder / "data"))
    plan = upwell("adopt", "--dry-run")
    row = plan.stdout.splitlines()[1]
    assert row.split()[:3] == ["db", "quadlet/systemd-db", "registry.test/db:1"]
    assert "  does not run  " in row
    assert row.endswith("started on copies of its volumes; db.service no more")

    serving[0] = "Failed"
    failed = upwell("adopt", "--yes", *data)
    assert "db: given back, podman/systemd-db is as it was" in failed.stderr
    assert engine.calls == ["systemctl stop db.service"]
    serving[0] = "Complete"
    done = upwell("adopt", "db", "--yes", *data)
    assert done.exit_code == 0, done.stderr
    assert "db: adopted; db.service does not start any more" in done.stderr
    claim = engine.folder / "data/workloads/claims/default/rows"
    assert (claim / "row").read_text() == "1"

    (engine.folder / "units").mkdir()
    (engine.folder / "units" / "db.service").symlink_to("/dev/null")
    assert "nothing to adopt" in upwell("adopt").stderr
    assert quadlet.exists()


def test_a_file_is_told_where_it_goes(
    upwell: Upwell, engine: EngineProgram, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {}")
    refused = upwell("adopt", str(file))
    assert f"`upwell apply -f {file}` takes a Compose file" in refused.stderr
    assert engine.calls == []


def test_the_plan_names_each_service_once_and_says_what_to_do_with_what_stays(
    upwell: Upwell, engine: EngineProgram
) -> None:
    bind = {"Type": "bind", "Source": "/srv/zones", "Destination": "/zones", "RW": False}
    dns = container("dns", 1) | {"Mounts": [bind]}
    engine.run(dns, container("agent", 2, NetworkMode="host"))
    result = upwell("adopt", "--dry-run")
    assert "dns: binds /srv/zones of the machine" in result.stderr
    assert "dns: dns:" not in result.stderr
    assert (
        "next: `upwell adopt agent --watch` tells of the new images of what stays" in result.stderr
    )
