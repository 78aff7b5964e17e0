"""The command `upwell`: its commands by name, its own options, and what its exit codes mean."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import override

import click

from upwell.cli.core.connection import connection_options
from upwell.cli.core.examples import block, examples


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is implemented, and its line in the list of commands."""

    target: str
    """`MODULE:ATTRIBUTE`, the module relative to this package."""
    summary: str

    def load(self) -> click.Command:
        """Import the command's module and return the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(f"upwell.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is no command")
        return command


COMMANDS: Mapping[str, Entry] = {
    "apply": Entry("objects.apply:apply", "Create or change objects from manifests."),
    "approve": Entry("promotion.approve:approve", "Agree to a promotion that waits for it."),
    "build-chain": Entry("explain.build_chain:build_chain", "Show what a tag's change builds."),
    "cancel-build": Entry("builds.builds:cancel_build", "Cancel builds that have not ended."),
    "delete": Entry("objects.delete:delete", "Delete objects by name or from manifests."),
    "demo": Entry("demo:demo", "Replay a real base image fix on this machine."),
    "describe": Entry("objects.describe:describe_command", "Tell all about an object."),
    "doctor": Entry("serve.doctor:doctor", "Say what this machine can and cannot do."),
    "evidence": Entry("promotion.evidence:evidence", "Show what the tests of a stage have left."),
    "exec": Entry("workloads.exec:exec_command", "Run a command in a workload's container."),
    "explain": Entry("explain.explain:explain_command", "Say why it was built or rolled out."),
    "freeze": Entry("promotion.freeze:freeze", "Stop the line, or let it go on."),
    "get": Entry("objects.get:get", "List or watch objects."),
    "kubeconfig": Entry("access.kubeconfig:kubeconfig", "Print a kubeconfig for kubectl."),
    "history": Entry("promotion.history:history", "Show what was promoted, and how it went."),
    "hold": Entry("promotion.hold:hold", "Keep new images away from a workload or stage."),
    "image": Entry("images.image:image", "Copy images between registries."),
    "import-image": Entry("images.image_import:import_image", "Import a tag's image now."),
    "login": Entry("access.login:login", "Remember a server and a token for it."),
    "logout": Entry("access.login:logout", "Forget the token of a server."),
    "logs": Entry("workloads.logs:logs", "Print the log of a build or a workload."),
    "new-app": Entry("new_app.new_app:new_app", "Make an application and all it needs."),
    "notify": Entry("notifications.notify:notify", "Test what tells the outside, and replay it."),
    "pipeline": Entry("promotion.pipeline:pipeline", "See where an application's releases are."),
    "port-forward": Entry(
        "workloads.port_forward:port_forward", "Reach an instance's port at a local one."
    ),
    "resume": Entry("promotion.hold:resume", "Lift a hold or a pause."),
    "process": Entry("templates.process:process", "Print the objects of a template."),
    "promote": Entry("promotion.promote:promote", "Bring a release into a stage now."),
    "prune": Entry("pruning.prune:prune", "Remove what nothing needs any more."),
    "quarantine": Entry(
        "promotion.quarantine:quarantine",
        "List base images that are kept out; let them in.",
    ),
    "reject": Entry("promotion.approve:reject", "Refuse a promotion, or a release everywhere."),
    "release": Entry("promotion.release:release", "List, describe and compare releases."),
    "rollback": Entry("promotion.rollback:rollback", "Put an earlier release back into a stage."),
    "rollout": Entry("workloads.rollout:rollout", "Watch, undo, pause or resume rollouts."),
    "s2i": Entry("s2i:s2i", "Build an image from source, without a server."),
    "serve": Entry("serve.serve:serve", "Run the server on this machine."),
    "start-build": Entry("builds.builds:start_build", "Start a build of a BuildConfig."),
    "status": Entry("explain.status:status", "Show the tree from base image to workload."),
    "token": Entry("access.token:token", "Make, list and delete tokens."),
    "tag": Entry("images.tag:tag", "Promote an image, or follow one, under another name."),
    "verify": Entry("promotion.verify:verify", "Report whether a release passed in a stage."),
    "wait": Entry("objects.wait:wait", "Wait until an object is as you say."),
    "whoami": Entry("access.login:whoami", "Say who you are to the server."),
}
"""The summaries are repeated here so that the list of commands needs no command's module."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        return entry.load() if entry is not None else None

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in sorted(COMMANDS)])


_EXIT_CODES = block(
    "Exit codes",
    "0    done",
    "1    failed: the server refused, or a build or rollout failed",
    "2    wrong usage or input; nothing was changed",
    "3    no such object",
    "4    the server cannot be reached",
    "5    the time given with --timeout is over",
    "130  interrupted",
)
_EXAMPLES = examples(
    "upwell serve",
    "upwell apply -f examples/glibc",
    "upwell status",
    "upwell explain deployment/shop",
)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"{_EXIT_CODES}\n\n{_EXAMPLES}",
)
@click.version_option(None, "--version", package_name="upwell", message="upwell %(version)s")
@connection_options
def main() -> None:
    """Keep every running container on a patched base image.

    The result of a command goes to stdout, everything else to stderr.
    """
