"""`upwell label`, `annotate`, `patch` and `scale` against the API."""

import json

from tests.support.cli.served_commands import ServedCommands


async def test_labels(commands: ServedCommands) -> None:
    said = await commands.done("label", "deployment/shop", "tier=web")
    taken = await commands.refused(1, "label", "deployment", "shop", "tier=api")
    await commands.done("label", "deployment/shop", "tier=api", "--overwrite")
    listed = await commands.done("label", "deployment/shop", "--list")
    same = await commands.done("label", "deployment/shop", "tier=api")
    gone = await commands.done("label", "deployment", "-l", "app=shop", "tier-")
    bad = await commands.refused(2, "label", "deployment/shop", "tier=no spaces")

    assert said == "deployment.apps/shop labeled\n"
    assert "deployment/shop: 'tier' already has a value (web), and --overwrite" in taken
    assert listed == "app=shop\ntier=api\n"
    assert same == "deployment.apps/shop not labeled\n"
    assert gone == "deployment.apps/shop unlabeled\n"
    assert "tier=no spaces is no label" in bad
    assert (await commands.object("deployment/shop"))["metadata"]["labels"] == {"app": "shop"}


async def test_annotations(commands: ServedCommands) -> None:
    await commands.done("annotate", "bc/shop", "team/owner=ada lovelace", "note=a=b")
    await commands.done("annotate", "bc", "shop", "note-")
    both = await commands.refused(2, "annotate", "bc/shop", "a=b", "a-")

    annotations = (await commands.object("bc/shop"))["metadata"]["annotations"]
    assert annotations["team/owner"] == "ada lovelace"
    assert "note" not in annotations
    assert "a is both set and removed" in both


async def test_a_version_is_a_precondition(commands: ServedCommands) -> None:
    version = (await commands.object("cm/settings"))["metadata"]["resourceVersion"]

    await commands.done("label", "cm/settings", "a=b", f"--resource-version={version}")
    late = await commands.refused(1, "label", "cm/settings", "c=d", f"--resource-version={version}")

    assert "its resourceVersion is" in late


async def test_patches(commands: ServedCommands) -> None:
    strategic = '{"spec":{"template":{"spec":{"containers":[{"name":"log","image":"log:2"}]}}}}'
    said = await commands.done("patch", "deployment/shop", "-p", strategic)
    same = await commands.done("patch", "deployment/shop", "-p", strategic)
    await commands.done("patch", "cm", "settings", "--type=merge", "-p", "data: {mode: null, a: b}")
    operations = json.dumps([{"op": "replace", "path": "/data/a", "value": "c"}])
    await commands.done("patch", "cm/settings", "--type=json", "-p", operations)
    spec = (await commands.object("deployment/shop"))["spec"]["template"]["spec"]

    assert said == "deployment.apps/shop patched\n"
    assert same == "deployment.apps/shop patched (no change)\n"
    assert {one["name"]: one["image"] for one in spec["containers"]} == {
        "web": "web:1",
        "log": "log:2",
    }
    assert (await commands.object("cm/settings"))["data"] == {"a": "c"}


async def test_patches_that_do_not_fit(commands: ServedCommands) -> None:
    await commands.refused(2, "patch", "cm/settings", "-p", "[]")
    await commands.refused(2, "patch", "cm/settings", "-p", "{")
    await commands.refused(2, "patch", "cm/settings")
    stale = await commands.refused(
        1, "patch", "cm/settings", "-p", '{"metadata":{"resourceVersion":"1"},"data":{"a":"b"}}'
    )
    wrong = await commands.refused(1, "patch", "deployment/shop", "-p", '{"spec":{"replicas":-1}}')
    locally = await commands.done(
        *("patch", "-f", "-", "--local", "--type=merge", "-p", '{"data":{"a":"b"}}', "-o"),
        "jsonpath={.data}",
        stdin="{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {c: d}}",
    )

    assert "was not written" in stale
    assert "spec.replicas" in wrong
    assert json.loads(locally) == {"a": "b", "c": "d"}


async def test_scaling(commands: ServedCommands) -> None:
    said = await commands.done("scale", "deployment/shop", "--replicas=5")
    other = await commands.refused(
        1, "scale", "deployment/shop", "--current-replicas=2", "--replicas=3"
    )
    await commands.done("scale", "deploy/shop", "--current-replicas=5", "--replicas=3")
    tried = await commands.done("scale", "deploy/shop", "--replicas=9", "--dry-run=server")
    await commands.done("scale", "deploy,dc", "--all", "--replicas=0")
    wrong = await commands.refused(2, "scale", "bc/shop", "--replicas=1")

    assert said == "deployment.apps/shop scaled\n"
    assert "deployment/shop has 5 replicas, not 2: not scaled" in other
    assert tried == "deployment.apps/shop scaled (server dry run)\n"
    assert (await commands.object("deployment/shop"))["spec"]["replicas"] == 0
    assert (await commands.object("dc/gate"))["spec"]["replicas"] == 0
    assert "a BuildConfig has no replicas to set" in wrong
