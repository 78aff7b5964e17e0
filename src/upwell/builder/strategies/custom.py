"""The Custom strategy: a builder image that builds and pushes by itself."""

import asyncio
import json
from collections.abc import Mapping

from upwell.builder.commands import BuildMount
from upwell.builder.inputs import volume_mounts
from upwell.builder.interface import BuildError
from upwell.builder.strategies.trial import run_inside
from upwell.builder.workspace import Workspace
from upwell.formats.s2i.contract import S2iError, environment_instructions

_PUSH_SECRET = "/var/run/secrets/openshift.io/push"  # noqa: S105  # a path, named by build/v1
_SOURCE = "/tmp/build/inputs"  # noqa: S108  # a path inside the image, named by build/v1


async def build(work: Workspace) -> None:
    """Run the plan's builder image; raises BuildError CustomBuildFailed."""
    if work.plan.docker_socket:
        raise BuildError(
            "CustomBuildFailed",
            "exposeDockerSocket would give the build this machine: there is no Docker socket",
        )
    builder = work.plan.images.get("builder")
    if builder is None:
        raise BuildError("CustomBuildFailed", "the plan names no builder image")
    config = await work.commands.image_config(str(builder), work.folder.path)
    command = [*config.entrypoint, *config.cmd]
    if not command:
        raise BuildError("CustomBuildFailed", f"{builder} has neither ENTRYPOINT nor CMD")
    own = {**_variables(work, str(builder)), **dict(work.plan.build_env)}
    variables = {**own, **dict(work.plan.env)}
    try:
        lines, values = environment_instructions(variables.items())
    except S2iError as error:
        raise BuildError("CustomBuildFailed", str(error)) from error
    recipe = "\n".join([f"FROM {builder}", *lines, f"RUN {json.dumps(command)}", ""])
    mounts = await asyncio.to_thread(_mounts, work)
    outcome = await run_inside(work, recipe, mounts, values)
    work.check(outcome, "CustomBuildFailed", "Custom build failed")


def _variables(work: Workspace, builder: str) -> Mapping[str, str]:
    """Return what build/v1 CustomBuildStrategy promises to its image."""
    plan = work.plan
    labels = plan.labels
    found = {
        "BUILD": plan.build_document,
        "OPENSHIFT_CUSTOM_BUILD_BASE_IMAGE": builder,
        "SOURCE_REPOSITORY": labels.get("io.openshift.build.source-location", ""),
        "SOURCE_URI": labels.get("io.openshift.build.source-location", ""),
        "SOURCE_REF": labels.get("io.openshift.build.commit.ref", ""),
        "SOURCE_COMMIT": labels.get("io.openshift.build.commit.id", ""),
        "SOURCE_CONTEXT_DIR": labels.get("io.openshift.build.source-context-dir", ""),
    }
    if plan.push is not None:
        found["OUTPUT_REGISTRY"] = plan.push.registry
        found["OUTPUT_IMAGE"] = str(plan.push).removeprefix(f"{plan.push.registry}/")
        found["PUSH_DOCKERCFG_PATH"] = _PUSH_SECRET
    return {name: text for name, text in found.items() if text}


def _mounts(work: Workspace) -> list[BuildMount]:
    secret = work.folder.empty("push-secret")
    login = secret / "config.json"
    login.write_bytes((work.folder.path / "auth.json").read_bytes())
    login.chmod(0o644)  # the folder above is private; the builder's user is not root's
    mounts = [BuildMount(secret, _PUSH_SECRET), *volume_mounts(work)]
    if work.plan.context is not None:
        mounts.append(BuildMount(work.plan.context, _SOURCE))
    return mounts
