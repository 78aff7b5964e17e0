"""The post-commit hook: a check inside the built image, before anything is pushed."""

import json

from upwell.builder.interface import BuildError, PostCommit
from upwell.builder.strategies.trial import run_inside
from upwell.builder.workspace import Workspace
from upwell.oci import ImageConfig


async def check_image(work: Workspace, image: str, hook: PostCommit) -> None:
    """Run the hook in `image`, which stays as it is; raises BuildError PostCommitHookFailed."""
    config = await work.commands.image_config(image, work.folder.path)
    command = hook_command(hook, config)
    if not command:
        return
    # A name keeps the image: Buildah removes nameless ones together with what was made of them.
    await work.commands.tag(image, f"localhost/upwell-build:{work.plan.id}", work.folder.path)
    work.say("Running post commit hook ...")
    outcome = await run_inside(work, f"FROM {image}\nRUN {json.dumps(command)}\n")
    what = f"Build failed because of post commit hook. It exited with {outcome.code}"
    work.check(outcome, "PostCommitHookFailed", what)


def hook_command(hook: PostCommit, config: ImageConfig) -> list[str]:
    """Return what the hook runs (build/v1 BuildPostCommitSpec); empty: nothing.

    Raises BuildError for a hook with both a script and a command.
    """
    if hook.script and hook.command:
        raise BuildError("PostCommitHookFailed", "postCommit has both a script and a command")
    if hook.script:
        # The arguments are the script's own: its $1, $2 and so on.
        return ["/bin/sh", "-ic", hook.script, "/bin/sh", *hook.args]
    if hook.command:
        return [*hook.command, *hook.args]
    return [*config.entrypoint, *hook.args] if hook.args else []
