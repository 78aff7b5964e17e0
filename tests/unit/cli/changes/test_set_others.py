"""set build-secret, build-hook, deployment-hook, data, image-lookup, route-backends and others."""

import pytest
from tests.support.cli.served_commands import ServedCommands

ROUTE = """\
apiVersion: route.openshift.io/v1
kind: Route
metadata: {name: web}
spec: {host: web.test, to: {kind: Service, name: a, weight: 100}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: old}, ports: [{port: 80}]}
---
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: shop}
"""


async def test_build_secrets_go_where_they_are_for(commands: ServedCommands) -> None:
    done = await commands.done("set", "build-secret", "--push", "--pull", "bc/shop", "login")
    assert done == "buildconfig.build.openshift.io/shop secret updated\n"
    await commands.done("set", "build-secret", "--source", "shop", "secret/git")
    spec = (await commands.object("bc/shop"))["spec"]
    assert spec["output"]["pushSecret"] == {"name": "login"}
    assert spec["strategy"]["dockerStrategy"]["pullSecret"] == {"name": "login"}
    assert spec["source"]["sourceSecret"] == {"name": "git"}

    await commands.done("set", "build-secret", "--push", "--remove", "--all")
    assert "pushSecret" not in (await commands.object("bc/shop"))["spec"]["output"]
    assert "type of secret" in await commands.refused(2, "set", "build-secret", "shop", "x")
    assert "a secret" in await commands.refused(2, "set", "build-secret", "--pull", "a", "cm/x")


async def test_hooks_of_builds_and_rollouts(commands: ServedCommands) -> None:
    hook = ("set", "build-hook", "shop", "--post-commit")
    assert "hooks updated" in await commands.done(*hook, "--script", "make test", "--", "-x")
    spec = (await commands.object("bc/shop"))["spec"]
    assert spec["postCommit"] == {"script": "make test", "args": ["-x"]}
    await commands.done(*hook, "--command", "--", "/bin/sh", "-c", "true")
    spec = (await commands.object("bc/shop"))["spec"]
    assert spec["postCommit"] == {"command": ["/bin/sh"], "args": ["-c", "true"]}
    await commands.done(*hook, "--remove")
    assert "command" not in (await commands.object("bc/shop"))["spec"].get("postCommit", {})

    rollout = ("set", "deployment-hook", "dc/gate")
    words = ("--pre", "-e", "A=1", "--failure-policy=abort", "--", "bin/migrate", "up")
    assert "hooks updated" in await commands.done(*rollout, *words)
    strategy = (await commands.object("dc/gate"))["spec"]["strategy"]
    pre = strategy["rollingParams"]["pre"]
    assert pre["failurePolicy"] == "Abort"
    assert pre["execNewPod"]["command"] == ["bin/migrate", "up"]
    assert pre["execNewPod"]["containerName"] == "gate"
    assert pre["execNewPod"]["env"] == [{"name": "A", "value": "1"}]
    assert "Recreate" in await commands.refused(1, *rollout, "--mid", "--", "x")
    assert "no volume 'v'" in await commands.refused(1, *rollout, "--pre", "--volumes=v", "--", "x")
    await commands.done(*rollout, "--remove", "--pre")
    strategy = (await commands.object("dc/gate"))["spec"]["strategy"]
    assert "pre" not in strategy.get("rollingParams", {})


async def test_keys_are_set_and_removed(commands: ServedCommands) -> None:
    done = await commands.done("set", "data", "secret/database", "user=eve", "pass-word-")
    assert done == "secret/database data updated\n"
    assert (await commands.object("secret/database"))["data"] == {"user": "ZXZl"}
    await commands.done("set", "data", "cm/settings", "--from-literal=mode=slow", "more=1")
    assert (await commands.object("cm/settings"))["data"] == {"mode": "slow", "more": "1"}
    assert "name a key" in await commands.refused(2, "set", "data", "cm/settings")
    assert "neither" in await commands.refused(1, "set", "data", "deployment/shop", "a=b")


async def test_streams_and_workloads_look_images_up(commands: ServedCommands) -> None:
    await commands.done("apply", "-f", "-", stdin=ROUTE)
    assert "image lookup updated" in await commands.done("set", "image-lookup", "shop")
    assert (await commands.done("set", "image-lookup")).split() == ["NAME", "LOCAL", "shop", "true"]
    await commands.done("set", "image-lookup", "deploy/shop")
    listed = await commands.done("set", "image-lookup", "deploy/shop", "--list")
    assert listed.split()[-1] == "true"
    await commands.done("set", "image-lookup", "shop", "--enabled=false")
    assert (await commands.done("set", "image-lookup")).split()[-1] == "false"


async def test_backends_get_their_shares(commands: ServedCommands) -> None:
    await commands.done("apply", "-f", "-", stdin=ROUTE)
    backends = ("set", "route-backends", "web")
    done = await commands.done(*backends, "a=2", "b=1")
    assert done == "route.route.openshift.io/web backends updated\n"
    table = (await commands.done(*backends)).splitlines()
    assert [line.split() for line in table] == [
        ["NAME", "KIND", "TO", "WEIGHT"],
        ["routes/web", "Service", "a", "2", "(66%)"],
        ["routes/web", "Service", "b", "1", "(33%)"],
    ]
    for word, weights in (("b=+10%", (57, 43)), ("a=10%", (10, 90)), ("b=7", (10, 7))):
        await commands.done(*backends, "--adjust", word)
        spec = (await commands.object("route/web"))["spec"]
        found = spec["to"]["weight"], spec["alternateBackends"][0]["weight"]
        assert found == weights, word
    await commands.done(*backends, "--zero")
    assert (await commands.object("route/web"))["spec"]["to"]["weight"] == 0
    assert "not in the list" in await commands.refused(1, *backends, "--adjust", "c=1")
    assert "SERVICE=WEIGHT" in await commands.refused(2, *backends, "a=x")


async def test_selectors_and_accounts(commands: ServedCommands) -> None:
    await commands.done("apply", "-f", "-", stdin=ROUTE)
    done = await commands.done("set", "selector", "svc/web", "app=shop,tier=web")
    assert done == "service/web selector updated\n"
    selector = (await commands.object("svc/web"))["spec"]["selector"]
    assert selector == {"app": "shop", "tier": "web"}
    done = await commands.done("set", "sa", "deployment", "shop", "builder")
    assert done == "deployment.apps/shop serviceaccount updated\n"
    template = (await commands.object("deployment/shop"))["spec"]["template"]
    assert template["spec"]["serviceAccountName"] == "builder"


@pytest.mark.parametrize("dashes", [(), ("--",)])
async def test_a_manifest_names_what_is_shown(
    commands: ServedCommands, tmp_path_factory: pytest.TempPathFactory, dashes: tuple[str, ...]
) -> None:
    file = tmp_path_factory.mktemp("manifests") / "route.yaml"
    file.write_text(ROUTE)
    await commands.done("apply", "-f", str(file))
    shown = await commands.done("get", "-f", str(file), "-o", "name", *dashes)
    assert "route.route.openshift.io/web" in shown.split()
    assert "service/web" in shown.split()
    described = await commands.done("describe", "-f", str(file), *dashes)
    assert described.count("web") >= 2
    assert "shop" in await commands.done("describe", "deployment", "-l", "app=shop")
    assert "-f, not both" in await commands.refused(2, "get", "svc", "-f", str(file))
