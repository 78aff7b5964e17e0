"""Lifecycle hooks of DeploymentConfigs in real containers: each runs to one recorded end.

Hooks and replicas write what they do into one claim, in the order in which it happens.
"""

import asyncio
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.builds.openshift_corpus import DEPLOYMENTS, deployment_config
from tests.support.rollouts.real_machine import RealRollouts, podman_home, real_rollouts
from tests.support.workload.waiting import eventually

from upwell.api.apps import DeploymentConfig, HookResult, RevisionRecord
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.policy.rollouts.rollout import FIRST_BACKOFF
from upwell.workload.interface import Instance, Runtime, State

__all__ = ["podman_home", "real_rollouts"]  # fixtures

NOTE = "echo {} >> /notes/log"
APP = f"{NOTE.format('app $VERSION')}; trap '%s' TERM; sleep 600 & wait"
ENDS = APP % "exit"
TELLS_ITS_END = APP % f"{NOTE.format('end $VERSION')}; exit"


def hook(script: str, policy: str = "Abort") -> dict[str, Any]:
    command = ["/bin/busybox", "sh", "-c", script]
    return {"failurePolicy": policy, "execNewPod": {"command": command, "volumes": ["notes"]}}


def config(
    real_rollouts: RealRollouts,
    version: str,
    kind: str = "Rolling",
    *,
    app: str = ENDS,
    **hooks: Any,
) -> DeploymentConfig:
    container = {
        "name": "app",
        "image": str(real_rollouts.image),
        "command": ["/bin/busybox", "sh", "-c", app],
        "env": [{"name": "VERSION", "value": version}],
        "volumeMounts": [{"name": "notes", "mountPath": "/notes"}],
    }
    volume = {"name": "notes", "persistentVolumeClaim": {"claimName": "notes"}}
    pod = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1}
    strategy = {"type": kind, f"{kind.lower()}Params": hooks}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": pod}
    document = {
        "metadata": {"namespace": "shop", "name": "db"},
        "spec": {"replicas": 1, "template": template, "strategy": strategy},
    }
    return decode_as(DeploymentConfig, document)


async def apply(real_rollouts: RealRollouts, wanted: DeploymentConfig) -> None:
    spec = {"spec": wanted.spec}
    await real_rollouts.change(
        DeploymentConfig, wanted.name, lambda now: now.model_copy(update=spec)
    )


async def newest(real_rollouts: RealRollouts, name: str = "db") -> RevisionRecord | None:
    records = (await real_rollouts.store.get(DeploymentConfig, "shop", name)).status.revisions
    return records[0] if records else None


async def until_ended(
    real_rollouts: RealRollouts, revision: int, phase: str, name: str = "db"
) -> RevisionRecord:
    def ended(one: RevisionRecord | None) -> bool:
        return one is not None and (one.revision, one.phase) == (revision, phase)

    found = await eventually(partial(newest, real_rollouts, name), ended)
    assert found is not None
    return found


async def progressing(real_rollouts: RealRollouts, name: str = "db") -> str:
    stored = await real_rollouts.store.get(DeploymentConfig, "shop", name)
    found = find(stored.status.conditions, "Progressing")
    return found.message if found else ""


def notes(real_rollouts: RealRollouts) -> list[str]:
    """Return what containers have written so far: one that has just become ready may write yet."""
    path = Path(real_rollouts.podman.data_dir) / "claims" / "shop" / "notes" / "log"
    return path.read_text().splitlines() if path.exists() else []


async def written(real_rollouts: RealRollouts) -> list[str]:
    return notes(real_rollouts)


async def replicas(runtime: Runtime) -> list[Instance]:
    return [one for one in await runtime.instances() if one.state is State.RUNNING]


async def test_recreate_runs_pre_and_mid_and_post_around_old_and_new(
    real_rollouts: RealRollouts,
) -> None:
    hooks: dict[str, Any] = {
        "pre": hook(NOTE.format("pre $OPENSHIFT_DEPLOYMENT_NAME")),
        "mid": hook(NOTE.format("mid $VERSION")),
        "post": hook(NOTE.format("post")),
    }
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(config(real_rollouts, "one", app=TELLS_ITS_END))
        await until_ended(real_rollouts, 1, "Complete")
        await apply(real_rollouts, config(real_rollouts, "two", "Recreate", **hooks))
        record = await until_ended(real_rollouts, 2, "Complete")

        assert notes(real_rollouts) == [
            "app one",
            "pre db-2",
            "end one",
            "mid two",
            "app two",
            "post",
        ]
        assert {name: one.phase for name, one in record.hooks.items()} == dict.fromkeys(
            ("pre", "mid", "post"), "Complete"
        )
        await eventually(partial(replicas, runtime), lambda found: len(found) == 1)


@pytest.mark.parametrize(
    ("policy", "phase", "hook_phase", "serves"),
    [("Abort", "Failed", "Failed", "one"), ("Ignore", "Complete", "Ignored", "two")],
)
async def test_a_hook_that_fails_aborts_or_is_ignored(
    real_rollouts: RealRollouts, policy: str, phase: str, hook_phase: str, serves: str
) -> None:
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(config(real_rollouts, "one"))
        await until_ended(real_rollouts, 1, "Complete")
        failing = hook("echo the database is locked; exit 4", policy)
        await apply(real_rollouts, config(real_rollouts, "two", pre=failing))
        record = await until_ended(real_rollouts, 2, phase)

        assert record.hooks["pre"].phase == hook_phase
        assert "the database is locked" in record.hooks["pre"].message
        assert notes(real_rollouts)[-1] == f"app {serves}"
        if phase == "Failed":
            assert "the database is locked" in await progressing(real_rollouts)
        await eventually(partial(replicas, runtime), lambda found: len(found) == 1)


async def test_a_hook_is_retried_until_it_succeeds(real_rollouts: RealRollouts) -> None:
    twice = "echo try >> /notes/log; busybox test $(busybox wc -l < /notes/log) -gt 2"
    async with real_rollouts.serve():
        await real_rollouts.store.create(config(real_rollouts, "one"))
        await until_ended(real_rollouts, 1, "Complete")
        await apply(real_rollouts, config(real_rollouts, "two", pre=hook(twice, "Retry")))
        told = await eventually(
            partial(progressing, real_rollouts), lambda text: "Retrying" in text
        )
        assert "pre hook failed; Retrying hook pod (retry #1)" in told
        await real_rollouts.pass_time(FIRST_BACKOFF, DeploymentConfig, "db")
        record = await until_ended(real_rollouts, 2, "Complete")

        assert record.hooks["pre"].retries == 1
        await eventually(
            partial(written, real_rollouts), ["app one", "try", "try", "app two"].__eq__
        )


async def test_a_hook_that_another_process_finds_runs_once(real_rollouts: RealRollouts) -> None:
    waits = f"{NOTE.format('begun')}; while ! busybox test -e /notes/go; do sleep 0.1; done"
    async with real_rollouts.serve():
        await real_rollouts.store.create(config(real_rollouts, "one"))
        await until_ended(real_rollouts, 1, "Complete")
        await apply(real_rollouts, config(real_rollouts, "two", pre=hook(waits)))

        await eventually(partial(written, real_rollouts), lambda lines: "begun" in lines)
    async with real_rollouts.serve():
        told = await eventually(partial(progressing, real_rollouts), lambda text: "hook" in text)
        assert "the pre hook runs" in told
        claim = Path(real_rollouts.podman.data_dir) / "claims" / "shop" / "notes"
        await asyncio.to_thread((claim / "go").touch)
        await until_ended(real_rollouts, 2, "Complete")
        await eventually(partial(written, real_rollouts), ["app one", "begun", "app two"].__eq__)


async def test_a_post_hook_tags_what_was_deployed_and_a_test_leaves_nothing(
    real_rollouts: RealRollouts,
) -> None:
    """OpenShift's case 36: tag-images-deployment."""
    to = {"kind": "ImageStreamTag", "name": "sample-stream:deployed"}
    tagging = {"failurePolicy": "Abort", "tagImages": [{"containerName": "app", "to": to}]}
    wanted = config(real_rollouts, "one", post=tagging)
    tested = wanted.model_copy(update={"spec": wanted.spec.model_copy(update={"test": True})})
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(tested)
        await until_ended(real_rollouts, 1, "Complete")
        await eventually(runtime.instances, lambda found: not found)
    [tag] = (await real_rollouts.store.get(ImageStream, "shop", "sample-stream")).spec.tags
    assert tag.name == "deployed"
    assert tag.from_ is not None
    assert (tag.from_.kind, tag.from_.name) == ("DockerImage", str(real_rollouts.image))
    assert notes(real_rollouts) == ["app one"], "it ran"


async def test_openshifts_failing_hook_is_retried_and_says_so(real_rollouts: RealRollouts) -> None:
    """OpenShift's case 34: failing-pre-hook."""
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(
            deployment_config(f"{DEPLOYMENTS}/failing-pre-hook.yaml", str(real_rollouts.image))
        )
        told = await eventually(
            partial(progressing, real_rollouts, "hook"), lambda text: "(retry #1)" in text
        )
        assert "Retrying hook pod (retry #1)" in told
        assert "pre hook logs" in told
        assert all(one.role == "pre" for one in await runtime.instances())


async def test_openshifts_recreate_runs_all_its_hooks(real_rollouts: RealRollouts) -> None:
    """OpenShift's case 34: complete-dc-hooks."""
    async with real_rollouts.serve() as runtime:
        await real_rollouts.store.create(
            deployment_config("testdata/complete-dc-hooks.yaml", str(real_rollouts.image))
        )
        record = await until_ended(real_rollouts, 1, "Complete", "complete-dc-hooks")
        done: dict[str, HookResult] = dict(record.hooks)
        assert {name: one.phase for name, one in done.items()} == dict.fromkeys(
            ("pre", "mid", "post"), "Complete"
        )
        await eventually(partial(replicas, runtime), lambda found: len(found) == 2)


async def test_openshifts_failing_rollout_follows_its_hook(real_rollouts: RealRollouts) -> None:
    """OpenShift's case 34: failing-dc, whose application ends at once."""
    async with real_rollouts.serve():
        await real_rollouts.store.create(
            deployment_config("testdata/failing-dc.yaml", str(real_rollouts.image))
        )
        await eventually(
            partial(progressing, real_rollouts, "failing-dc"), lambda text: "exited 1" in text
        )
        await real_rollouts.pass_time(timedelta(seconds=6), DeploymentConfig, "failing-dc")
        record = await until_ended(real_rollouts, 1, "Failed", "failing-dc")
        assert record.hooks["pre"].phase == "Complete"
        told = await progressing(real_rollouts, "failing-dc")
        assert "made no progress for 5 s: container myapp exited 1" in told
