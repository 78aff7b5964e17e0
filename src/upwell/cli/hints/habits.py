"""Commands of other tools, and of the wrong group, and what does the same here."""

from collections.abc import Mapping

from click.exceptions import NoSuchCommand

HABITS: Mapping[str, str] = {
    "build": "start-build",
    "check": "doctor",
    "config": "help configuration",
    "deploy": "new-app",
    "events": "get events",
    "image copy": "image mirror",
    "image cp": "image mirror",
    "image import": "import-image",
    "image inspect": "describe is",
    "image list": "get is",
    "image ls": "get is",
    "image prune": "prune",
    "image pull": "import-image",
    "image push": "image mirror",
    "image rebase": "rebase",
    "image rm": "delete is",
    "image sync": "image mirror",
    "image tag": "tag",
    "images": "get is",
    "inspect": "describe",
    "list": "get",
    "ls": "get",
    "ps": "get pods",
    "pull": "import-image",
    "remove": "delete",
    "restart": "rollout restart",
    "rm": "delete",
    "rollout rollback": "rollout undo",
    "rollout wait": "rollout status",
    "rollout-undo": "rollout undo",
    "secret": "create secret",
    "show": "describe",
    "start": "serve",
    "stop": "scale",
    "token add": "token create",
    "token remove": "token delete",
    "token revoke": "token delete",
    "token show": "token list",
    "top": "status",
    "undo": "rollout undo",
    "up": "apply",
    "update": "import-image",
    "version": "--version",
    "watch": "get --watch",
}
"""Words behind `upwell`, and those to write instead."""


def with_meant_command(error: NoSuchCommand) -> NoSuchCommand:
    """Return an error about a command with what does the same here, if anything is known to."""
    before = error.ctx.command_path.split()[1:] if error.ctx is not None else []
    instead = HABITS.get(" ".join((*before, error.command_name)))
    if instead is None:
        return error
    message = f"No such command {error.command_name!r}. Did you mean 'upwell {instead}'?"
    return NoSuchCommand(error.command_name, message, ctx=error.ctx)
