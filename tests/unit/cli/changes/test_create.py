"""`upwell create`, `expose` and `diff` against the API."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.cli.served_commands import ServedCommands

from upwell.cli.changes.writing import difference


async def test_manifests_are_created_once(commands: ServedCommands) -> None:
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: new}, data: {a: b}}"
    said = await commands.done("create", "-f", "-", stdin=manifest)
    again = await commands.refused(1, "create", "-f", "-", stdin=manifest)
    tried = await commands.done(
        *("create", "-f", "-", "--dry-run=server", "-o", "jsonpath={.metadata.name}"),
        stdin=manifest.replace("new", "newer"),
    )

    assert said == "configmap/new created\n"
    assert "exists already: `upwell apply` changes what exists" in again
    assert tried == "newer"
    await commands.refused(3, "get", "cm/newer")


async def test_config_maps_and_secrets(commands: ServedCommands, tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("x = 1\n")
    (tmp_path / "logo").write_bytes(b"\xff\x00")
    (tmp_path / "env").write_text("# none\nA=b\n")
    await commands.done(
        *("create", "configmap", "made", "--from-literal=mode='fast'", f"--from-file={tmp_path}"),
        f"--from-env-file={tmp_path / 'env'}",
    )
    twice = await commands.refused(
        2, "create", "cm", "no", "--from-literal=a=b", "--from-literal=a=c"
    )
    await commands.done("create", "secret", "generic", "word", "--from-literal=user=ada")
    await commands.done(
        *("create", "secret", "docker-registry", "pull", "--docker-server=registry.test"),
        *("--docker-username=ada", "--docker-password-stdin"),
        stdin="s3cret\n",
    )
    made, word, pull = [
        await commands.object(what) for what in ("cm/made", "secret/word", "secret/pull")
    ]

    assert made["data"] == {
        "mode": "fast",
        "app.conf": "x = 1\n",
        "env": "# none\nA=b\n",
        "A": "b",
    }
    assert made["binaryData"] == {"logo": base64.b64encode(b"\xff\x00").decode()}
    assert "the key a is given twice" in twice
    assert (word["type"], base64.b64decode(word["data"]["user"])) == ("Opaque", b"ada")
    logins = json.loads(base64.b64decode(pull["data"][".dockerconfigjson"]))
    assert logins["auths"]["registry.test"]["password"] == "s3cret"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            ("deployment", "new", "--image=registry.test/team/web:2", "--port=80", "--replicas=3"),
            {"replicas": 3, "selector": {"matchLabels": {"app": "new"}}},
        ),
        (
            ("dc", "new", "--image=gate:1", "--", "sleep", "1d"),
            {"selector": {"deployment-config.name": "new"}},
        ),
        (("imagestream", "new", "--lookup-local"), {"lookupPolicy": {"local": True}}),
        (
            ("cronjob", "new", "--image=tools:1", "--schedule=0 3 * * *", "--", "./backup", "-v"),
            {"schedule": "0 3 * * *"},
        ),
        (("job", "new", "--image=tools:1", "--", "true"), {}),
        (
            ("service", "clusterip", "new", "--tcp=80:8080", "--tcp=90"),
            {"selector": {"app": "new"}},
        ),
        (
            ("route", "edge", "new", "--service=web", "--insecure-policy=Redirect"),
            {"tls": {"termination": "edge", "insecureEdgeTerminationPolicy": "Redirect"}},
        ),
        (("sa", "new"), None),
        (("namespace", "new"), None),
    ],
)
async def test_kinds(
    commands: ServedCommands, arguments: tuple[str, ...], wanted: dict[str, Any] | None
) -> None:
    own = list(arguments)
    at = own.index("--") if "--" in own else len(own)
    document = yaml.safe_load(await commands.done("create", *own[:at], "-o", "yaml", *own[at:]))

    assert document["metadata"]["name"] == "new"
    assert document["metadata"]["uid"]
    if wanted is not None:
        assert difference(document["spec"], {**document["spec"], **wanted}) == {}


async def test_the_command_of_a_container(commands: ServedCommands) -> None:
    shown = await commands.done(
        *("create", "deployment", "new", "--image=busybox", "--dry-run=client"),
        *("-o", "jsonpath={.spec.template.spec.containers[0]}", "--", "sleep", "-x", "1d"),
    )

    assert json.loads(shown) == {
        "name": "busybox",
        "image": "busybox",
        "command": ["sleep", "-x", "1d"],
    }
    await commands.refused(3, "get", "deployment/new")


async def test_a_dry_run_of_the_group_is_one(commands: ServedCommands) -> None:
    said = await commands.done("create", "--dry-run=client", "configmap", "new")

    assert said == "configmap/new created (dry run)\n"
    await commands.refused(3, "get", "cm/new")


async def test_a_cron_job_runs_now(commands: ServedCommands) -> None:
    await commands.done("create", "cronjob", "backup", "--image=t:1", "--schedule=0 3 * * *")
    said = await commands.done("create", "job", "again", "--from=cronjob/backup")
    job = await commands.object("job/again")
    wrong = await commands.refused(2, "create", "job", "no", "--from=deployment/shop")

    assert said == "job.batch/again created\n"
    assert job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert job["metadata"]["ownerReferences"][0]["name"] == "backup"
    assert "name a CronJob as cronjob/NAME" in wrong


async def test_exposing(commands: ServedCommands) -> None:
    first = await commands.done("expose", "deployment/shop", "--port=80", "--target-port=http")
    second = await commands.done("expose", "svc/shop", "--hostname=shop.test", "--path=/api")
    service, route = await commands.object("svc/shop"), await commands.object("route/shop")
    declared = await commands.done("expose", "deployment", "shop", "--name=own", "-o", "json")
    none = await commands.refused(2, "expose", "dc/gate")
    wrong = await commands.refused(2, "expose", "deployment/shop", "--hostname=shop.test")
    other = await commands.refused(2, "expose", "bc/shop")
    power = await commands.refused(2, "expose", "deployment/shop", "--port=8\N{SUPERSCRIPT TWO}")

    assert first == "service/shop exposed\n"
    assert second == "route.route.openshift.io/shop exposed\n"
    assert service["spec"]["selector"] == {"app": "shop"}
    (port,) = service["spec"]["ports"]
    assert (port["port"], port["targetPort"], port["protocol"]) == (80, "http", "TCP")
    assert service["metadata"]["labels"] == {"app": "shop"}
    assert (route["spec"]["host"], route["spec"]["path"]) == ("shop.test", "/api")
    assert route["spec"]["port"] == {"targetPort": "http"}
    assert json.loads(declared)["spec"]["ports"][0]["port"] == 8080
    assert "its containers declare no port" in none
    assert "expose the workload as a Service first" in wrong
    assert "write a number" in power
    assert "cannot expose buildconfig/shop" in other


async def test_differences(commands: ServedCommands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECTL_EXTERNAL_DIFF", raising=False)
    same = (
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, labels: {app: shop}},"
        " data: {mode: fast}}"
    )
    other = same.replace("fast", "slow")
    secret = "{apiVersion: v1, kind: Secret, metadata: {name: database}, stringData: {user: grace}}"

    assert await commands.done("diff", "-f", "-", stdin=same) == ""
    changed = await commands("diff", "-f", "-", stdin=other)
    masked = await commands("diff", "-f", "-", stdin=secret)
    created = await commands("diff", "-f", "-", stdin=same.replace("settings", "brand-new"))
    await commands.refused(2, "diff", "-f", "-", stdin="{")
    monkeypatch.setenv("KUBECTL_EXTERNAL_DIFF", "diff -rq")
    by_tool = await commands("diff", "-f", "-", stdin=other)

    assert changed.exit_code == 1
    assert "-  mode: fast\n+  mode: slow\n" in changed.stdout
    assert masked.exit_code == 1
    assert "***" in masked.stdout
    encoded = [base64.b64encode(word).decode() for word in (b"ada", b"grace")]
    assert not any(word in masked.stdout for word in encoded)
    assert created.exit_code == 1
    assert "+  name: brand-new" in created.stdout
    assert by_tool.exit_code == 1
    assert (await commands.object("cm/settings"))["data"] == {"mode": "fast"}
