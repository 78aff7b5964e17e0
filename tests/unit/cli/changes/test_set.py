"""`upwell set …` against the API: what is changed, what is said, what is refused."""

import asyncio
import json
from typing import Any

from tests.support.cli.served_commands import ServedCommands
from tests.unit.cli.changes.conftest import MANIFESTS

from upwell.api.apps import TRIGGERS_ANNOTATION
from upwell.cli.changes.writing import difference


async def pod(commands: ServedCommands, what: str = "deployment/shop") -> Any:
    return (await commands.object(what))["spec"]["template"]["spec"]


async def test_images(commands: ServedCommands) -> None:
    said = await commands.done("set", "image", "deployment/shop", "web=web:2", "prepare=prepare:2")
    spec = await pod(commands)

    assert said == "deployment.apps/shop image updated\n"
    assert [one["image"] for one in spec["containers"]] == ["web:2", "log:1"]
    assert spec["initContainers"][0]["image"] == "prepare:2"
    assert spec["containers"][0]["env"] == [{"name": "LEVEL", "value": "info"}]

    await commands.done("set", "image", "deployment", "-l", "app=shop", "*=all:1")
    assert {one["image"] for one in (await pod(commands))["containers"]} == {"all:1"}
    again = await commands.done("set", "image", "deployment", "shop", "*=all:1")
    assert again == "deployment.apps/shop image unchanged\n"


async def test_images_that_no_container_has(commands: ServedCommands) -> None:
    wrong = await commands.refused(1, "set", "image", "deployment/shop", "nope=web:2")
    assert "unable to find container named 'nope': there are prepare, web, log" in wrong
    await commands.refused(2, "set", "image", "deployment/shop", "web")
    await commands.refused(2, "set", "image", "web=web:2")
    missing = await commands.refused(3, "set", "image", "deployment/nope", "web=web:2")
    assert 'deployments.apps "nope" not found' in missing
    none = await commands.refused(1, "set", "image", "bc/shop", "web=web:2")
    assert "buildconfig/shop: it has no pod template" in none
    nobody = await commands.refused(3, "set", "image", "sts", "--all", "web=web:2")
    assert "no statefulsets found in namespace default" in nobody


async def test_one_object_that_does_not_fit_keeps_all_as_they_are(commands: ServedCommands) -> None:
    await commands.refused(1, "set", "image", "deploy,dc", "--all", "web=web:2")

    assert (await pod(commands))["containers"][0]["image"] == "web:1"


async def test_dry_runs_change_nothing(commands: ServedCommands) -> None:
    client = await commands.done("set", "image", "deploy/shop", "web=web:2", "--dry-run=client")
    server = await commands.done("set", "image", "deploy/shop", "web=web:2", "--dry-run=server")
    shown = await commands.done(
        *("set", "image", "deploy/shop", "web=web:2", "--dry-run=server"),
        *("-o", "jsonpath={.spec.template.spec.containers[*].image}"),
    )
    bad = await commands.refused(
        1, "patch", "deploy/shop", "--dry-run=server", "-p", '{"spec":{"replicas":-1}}'
    )

    assert client == "deployment.apps/shop image updated (dry run)\n"
    assert server == "deployment.apps/shop image updated (server dry run)\n"
    assert shown == "web:2 log:1"
    assert "spec.replicas" in bad
    assert (await pod(commands))["containers"][0]["image"] == "web:1"


async def test_manifests_change_without_a_server(commands: ServedCommands) -> None:
    shown = await commands.done(
        *("set", "image", "-f", "-", "--local", "gate=gate:2", "-o"),
        "jsonpath={.spec.template.spec.containers[0].image}",
        stdin=MANIFESTS.split("---\n")[1],
    )

    assert shown == "gate:2"
    assert (await pod(commands, "dc/gate"))["containers"][0]["image"] == "gate:1"


async def test_environment(commands: ServedCommands) -> None:
    said = await commands.done("set", "env", "deployment/shop", "-c", "web", "A=1", "LEVEL-")
    listed = await commands.done("set", "env", "deployment/shop", "--list")
    taken = await commands.refused(
        1, "set", "env", "deployment/shop", "-c", "web", "A=2", "--no-overwrite"
    )
    await commands.done("set", "env", "dc/gate", "--from=secret/database", "--prefix=DB_")
    await commands.done("set", "env", "bc/shop", "-e", "-", stdin="# none\nGOFLAGS=-v\n")
    references = await commands.done("set", "env", "dc/gate", "--list")
    resolved = await commands.done("set", "env", "dc/gate", "--list", "--resolve")
    build = await commands.object("bc/shop")

    assert said == "deployment.apps/shop updated\n"
    assert listed.splitlines() == [
        "# deployment.apps/shop, container web",
        "A=1",
        "# deployment.apps/shop, container log",
    ]
    assert "'A' has a value already" in taken
    assert references.splitlines()[1:] == [
        "# DB_PASS_WORD from secret database, key pass-word",
        "# DB_USER from secret database, key user",
    ]
    assert resolved.splitlines()[1:] == ["DB_PASS_WORD=s3cret", "DB_USER=ada"]
    env = build["spec"]["strategy"]["dockerStrategy"]["env"]
    assert env == [{"name": "GOFLAGS", "value": "-v"}]


async def test_resources(commands: ServedCommands) -> None:
    await commands.done(
        *("set", "resources", "deploy/shop", "-c", "web", "--limits=cpu=500m,memory=1Gi"),
        "--requests=cpu=100m",
    )
    first, second = (await pod(commands))["containers"]
    await commands.done("set", "resources", "deploy/shop", "--limits=cpu=0,memory=0")
    after = (await pod(commands))["containers"][0]["resources"]

    limits = {"cpu": "500m", "memory": "1Gi"}
    assert first["resources"] == {"limits": limits, "requests": {"cpu": "100m"}}
    assert not second.get("resources")
    assert after == {"requests": {"cpu": "100m"}}


async def test_probes(commands: ServedCommands) -> None:
    await commands.done(
        *("set", "probe", "deploy/shop", "-c", "web", "--readiness"),
        "--get-url=http://:http/healthz?x=1",
    )
    await commands.done("set", "probe", "deploy/shop", "--liveness", "--", "cat", "-n", "/alive")
    await commands.done(
        "set", "probe", "deploy/shop", "-c", "web", "--readiness", "--period-seconds=7"
    )
    web, log = (await pod(commands))["containers"]
    unclear = await commands.refused(1, "set", "probe", "deploy/shop", "-c", "log", "--startup")
    await commands.done("set", "probe", "deploy/shop", "--remove", "--liveness")
    after = (await pod(commands))["containers"]

    get = {"path": "/healthz?x=1", "port": "http", "scheme": "HTTP"}
    assert web["readinessProbe"]["httpGet"] == get
    assert web["readinessProbe"]["periodSeconds"] == 7
    assert log["livenessProbe"]["exec"] == {"command": ["cat", "-n", "/alive"]}
    assert "readinessProbe" not in log
    assert "container log has no startupProbe: say what it does" in unclear
    assert [one.keys() & {"livenessProbe"} for one in after] == [set(), set()]


async def test_triggers_of_workloads(commands: ServedCommands) -> None:
    unclear = await commands.refused(
        1, "set", "triggers", "deploy/shop", "--from-image=shop:latest"
    )
    await commands.done("set", "triggers", "deploy/shop", "--from-image=shop:latest", "-c", "web")
    listed = await commands.done("set", "triggers", "deploy/shop")
    await commands.done("set", "triggers", "deploy/shop", "--from-image=shop:latest", "--manual")
    manual = await commands.done("set", "triggers", "deploy/shop")
    await commands.done("set", "triggers", "dc/gate", "--manual")
    gate = (await commands.object("dc/gate"))["spec"]["triggers"]
    await commands.done("set", "triggers", "dc/gate", "--auto")
    again = (await commands.object("dc/gate"))["spec"]["triggers"]
    await commands.done("set", "triggers", "deploy/shop", "--from-image=shop:latest", "--remove")
    gone = await commands.object("deploy/shop")

    assert "say which container follows shop:latest with -c: prepare, web, log" in unclear
    rows = [line.split() for line in listed.splitlines()]
    assert rows[1:] == [
        ["deployment.apps/shop", "config", "true"],
        ["deployment.apps/shop", "image", "shop:latest", "(web)", "true"],
    ]
    assert manual.splitlines()[-1].split()[-1] == "false"
    assert [one["type"] for one in gate] == ["ImageChange"]
    assert gate[0]["imageChangeParams"].get("automatic", False) is False
    assert [one["type"] for one in again] == ["ConfigChange", "ImageChange"]
    assert again[1]["imageChangeParams"]["automatic"] is True
    assert "image.openshift.io/triggers" not in gone["metadata"].get("annotations", {})


async def test_a_pause_is_told_and_a_tag_is_found_by_either_name(commands: ServedCommands) -> None:
    follow = ("set", "triggers", "deploy/shop", "--from-image=shop:latest")
    await commands.done(*follow, "-c", "web")
    namespace = (await commands.object("deploy/shop"))["metadata"]["namespace"]
    own = f"--from-image={namespace}/shop:latest"
    alone = await commands("set", "triggers", "deploy/shop", own, "--manual")
    all_triggers = await commands("set", "triggers", "deploy/shop", "--manual")
    assert (alone.exit_code, alone.stderr) == (0, "")
    assert "deployment/shop is paused now" in all_triggers.stderr
    assert "`upwell rollout resume deployment/shop` ends that" in all_triggers.stderr
    [entry] = json.loads(
        (await commands.object("deploy/shop"))["metadata"]["annotations"][TRIGGERS_ANNOTATION]
    )
    assert entry["paused"] is True


async def test_triggers_of_builds(commands: ServedCommands) -> None:
    await commands.done("set", "triggers", "bc/shop", "--from-github", "--from-image=tools:1")
    listed = await commands.done("set", "triggers", "bc/shop")
    first = (await commands.object("bc/shop"))["spec"]["triggers"]
    await commands.done("set", "triggers", "bc/shop", "--from-github")
    second = (await commands.object("bc/shop"))["spec"]["triggers"]
    missing = await commands.refused(1, "set", "triggers", "bc/shop", "--from-gitlab", "--remove")
    await commands.done("set", "triggers", "bc/shop", "--remove-all")

    hooks = [
        [one["github"]["secret"] for one in some if one["type"] == "GitHub"]
        for some in (first, second)
    ]
    assert [len(some) for some in hooks] == [1, 1]
    assert hooks[0] != hooks[1]
    assert hooks[0][0] not in listed
    kinds = [line.split()[1] for line in listed.splitlines()[1:]]
    assert sorted(kinds) == ["config", "github", "image", "image"]
    assert "it has no GitLab trigger to remove" in missing
    assert not (await commands.object("bc/shop"))["spec"].get("triggers")


async def test_volumes(commands: ServedCommands) -> None:
    await commands.done(
        *("set", "volume", "deploy/shop", "--add", "--name=data", "-m", "/data"),
        *("--claim-name=shop", "-c", "web"),
    )
    listed = await commands.done("set", "volumes", "deploy/shop")
    taken = await commands.refused(
        1, "set", "volume", "deploy/shop", "--add", "--name=data", "-t", "emptydir"
    )
    await commands.done(
        *("set", "volume", "deploy/shop", "--add", "-t", "secret", "--secret-name=database"),
        *("-m", "/etc/database", "--read-only", "--default-mode=0440", "-c", "log"),
    )
    spec = await pod(commands)
    many = await commands.refused(2, "set", "volume", "deploy/shop", "--remove")
    await commands.done("set", "volume", "deploy/shop", "--remove", "--name=data")
    after = await pod(commands)

    assert listed.splitlines() == [
        "deployment.apps/shop",
        "  pvc/shop as data",
        "    mounted at /data in web",
    ]
    assert "volume 'data' exists: --overwrite replaces it" in taken
    new = spec["volumes"][1]
    assert new["secret"] == {"secretName": "database", "defaultMode": 0o440}
    mount = {"name": new["name"], "mountPath": "/etc/database", "readOnly": True}
    assert spec["containers"][1]["volumeMounts"] == [mount]
    assert "--confirm" in many
    assert [one["name"] for one in after["volumes"]] == [new["name"]]
    assert not after["containers"][0].get("volumeMounts")


async def test_writers_at_once_lose_nothing(commands: ServedCommands) -> None:
    results = await asyncio.gather(
        *(commands("set", "env", "deploy/shop", "-c", "web", f"V{at}={at}") for at in range(6))
    )
    env = (await pod(commands))["containers"][0]["env"]

    assert [one.exit_code for one in results] == [0] * 6
    assert {one["name"] for one in env} == {"LEVEL", *(f"V{at}" for at in range(6))}


def test_a_difference_is_a_merge_patch() -> None:
    before = {"a": {"b": 1, "c": 2}, "d": [1], "e": 1}

    assert difference(before, {"a": {"b": 1}, "d": [2], "f": {}}) == {
        "a": {"c": None},
        "d": [2],
        "e": None,
        "f": {},
    }
    assert difference(before, before) == {}
