"""The command `upwell`: its commands by name, its own options, and its exit codes."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, override

import click
from click.exceptions import NoSuchCommand

from upwell.cli.core.connection import connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import block, examples
from upwell.cli.core.loading import uncollected


@dataclass(frozen=True, slots=True)
class Entry:
    """Place of a command's code, and its line in the list of commands."""

    target: str
    """`MODULE:ATTRIBUTE`, the module relative to this package."""
    summary: str

    def load(self) -> click.Command:
        """Import the command's module and return the command."""
        module, _, attribute = self.target.partition(":")
        with uncollected():
            command = getattr(importlib.import_module(f"upwell.cli.{module}"), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is no command")
        return command


COMMANDS: Mapping[str, Entry] = {
    "builders": Entry(
        "new_app.builders:builders", "List, create and update builder images for languages."
    ),
    "add": Entry("adoption.add:add", "Follow an image for a service, in one line."),
    "adopt": Entry("adoption.adopt:adopt", "Take over the containers that run on this machine."),
    "new-build": Entry("new_app.new_build:new_build", "Create a build and the streams it needs."),
    "create": Entry("changes.create.command:create", "Create objects from manifests or arguments."),
    "diff": Entry("changes.diff:diff", "Show what apply would change."),
    "edit": Entry("changes.edit:edit", "Change objects in an editor."),
    "expose": Entry(
        "changes.expose:expose", "Create a Route for a Service, or a Service for a workload."
    ),
    "new-project": Entry("objects.projects:new_project", "Create a project and use it."),
    "project": Entry("objects.projects:project", "Show the project in use, or use another."),
    "projects": Entry("objects.projects:projects", "List the projects (namespaces)."),
    "annotate": Entry("changes.label:annotate", "Set and remove annotations of objects."),
    "label": Entry("changes.label:label", "Set and remove labels of objects."),
    "patch": Entry("changes.patch:patch", "Change fields of objects by a patch."),
    "scale": Entry("changes.scale:scale", "Set the number of replicas of workloads."),
    "set": Entry("changes.set:set_command", "Change parts of workloads and BuildConfigs."),
    "apply": Entry("objects.apply:apply", "Create or change objects from manifests."),
    "approval-link": Entry(
        "promotion.approval_link:approval_link", "List and revoke approval links."
    ),
    "approve": Entry("promotion.approve:approve", "Approve a promotion that waits for approval."),
    "audit": Entry("serve.audit:audit", "Verify the audit log of this machine's server."),
    "backup": Entry("backup.backup:backup", "Save the data folder of this machine's server."),
    "build-chain": Entry(
        "explain.build_chain:build_chain", "Show the builds that depend on a tag."
    ),
    "cancel-build": Entry("builds.builds:cancel_build", "Cancel new, pending or running builds."),
    "completion": Entry("access.completion:completion", "Print the completion of a shell."),
    "delete": Entry("objects.delete:delete", "Delete objects by name or from manifests."),
    "demo": Entry("demo:demo", "Replay a real base image fix on this machine."),
    "attach": Entry("workloads.attach:attach_command", "Reach the process of a pod's container."),
    "debug": Entry("workloads.debug:debug", "Run a shell in a copy of a workload's pod."),
    "run": Entry("workloads.run:run", "Create a pod of an image."),
    "cp": Entry("workloads.cp:cp", "Copy files and folders to and from containers."),
    "rsync": Entry("workloads.rsync:rsync", "Copy a folder to or from a container."),
    "describe": Entry("objects.describe:describe_command", "Show the details of objects."),
    "doctor": Entry("doctor.doctor:doctor", "Check a machine or cluster for what Upwell needs."),
    "evidence": Entry("promotion.evidence:evidence", "List or print the evidence of a promotion."),
    "exec": Entry("workloads.exec:exec_command", "Run a command in a container of a workload."),
    "encryption": Entry(
        "serve.encryption:encryption", "Show and rotate the keys of what the server keeps on disk."
    ),
    "explain": Entry(
        "explain.explain:explain_command", "Explain why an object was built or rolled out."
    ),
    "export": Entry("transfer.transfer:export", "Write all objects of a store to a file."),
    "freeze": Entry("promotion.freeze:freeze", "Create, list and lift freezes of promotions."),
    "get": Entry("objects.get:get", "List or watch objects."),
    "install": Entry("install.install:install", "Install the server on a cluster."),
    "kubeconfig": Entry("access.kubeconfig:kubeconfig", "Print a kubeconfig for kubectl."),
    "history": Entry("promotion.history:history", "List the promotions of a pipeline."),
    "help": Entry("help.help:help_command", "Show the help of a command, or a page about a topic."),
    "hold": Entry("promotion.hold:hold", "Keep a workload or stage at its present images."),
    "image": Entry("images.image:image", "Copy images between registries, and verify them."),
    "import": Entry("transfer.transfer:import_command", "Put exported objects into a store."),
    "import-image": Entry(
        "images.image_import:import_image", "Import images from their registry now."
    ),
    "login": Entry("access.login:login", "Log in to a server and keep its token."),
    "logout": Entry("access.login:logout", "Log out of a server."),
    "logs": Entry("workloads.logs:logs", "Print the log of a build, workload or Pod."),
    "new-app": Entry("new_app.new_app:new_app", "Create an application and the objects it needs."),
    "notify": Entry(
        "notifications.notify:notify", "Test Subscriptions; list and replay failed deliveries."
    ),
    "options": Entry("help.help:options", "List the options that every command takes."),
    "pipeline": Entry("promotion.pipeline:pipeline", "Show the stages of pipelines."),
    "plan": Entry("waves.plan:plan", "Show what a change of an image would reach."),
    "port-forward": Entry(
        "workloads.port_forward:port_forward", "Forward local ports to an instance."
    ),
    "resume": Entry("promotion.hold:resume", "Resume a workload or stage that is held or paused."),
    "process": Entry("templates.process:process", "Print the objects of a Template."),
    "promote": Entry("promotion.promote:promote", "Promote a release into a stage now."),
    "rebase": Entry(
        "images.rebase:rebase", "Swap the base layers of an image in its registry, where safe."
    ),
    "prune": Entry("pruning.prune:prune", "Remove images, tags, logs and records not in use."),
    "quarantine": Entry(
        "promotion.quarantine:quarantine",
        "List and lift quarantines of base images.",
    ),
    "reject": Entry("promotion.approve:reject", "Reject a promotion or a release."),
    "release": Entry("promotion.release:release", "List, describe, compare and restore releases."),
    "restore": Entry("backup.backup:restore", "Put a backup into an empty data folder."),
    "release-to": Entry(
        "adoption.release_to:release_to", "Write services as files that run without Upwell."
    ),
    "rollback": Entry("promotion.rollback:rollback", "Roll a stage back to an earlier release."),
    "rollout": Entry("workloads.rollout:rollout", "Watch, undo, pause and resume rollouts."),
    "s2i": Entry("s2i:s2i", "Build images with Source-to-Image, without a server."),
    "serve": Entry("serve.serve:serve", "Run the server on this machine."),
    "session": Entry("access.session:session", "List and end sessions of people who signed in."),
    "setup": Entry("setup.setup:setup", "Make this machine a server that starts at boot."),
    "signing": Entry(
        "serve.signing:signing", "Print the public key of signed images; rotate the key."
    ),
    "start-build": Entry("builds.builds:start_build", "Start a build of a BuildConfig."),
    "status": Entry("explain.status:status", "Show the tree from base image to workload."),
    "token": Entry("access.token:token", "Create, request, list, rotate and delete tokens."),
    "tag": Entry("images.tag:tag", "Tag images into image streams."),
    "uninstall": Entry("install.uninstall:uninstall", "Remove the server from a cluster."),
    "upgrade": Entry("setup.upgrade:upgrade", "Install another version, or stay at this one."),
    "verify": Entry("promotion.verify:verify", "Report the test result of a release in a stage."),
    "wait": Entry("objects.wait:wait", "Wait for a condition of an object."),
    "wave": Entry(
        "waves.wave:wave", "Follow what comes of changes of base images, and decide about it."
    ),
    "whoami": Entry("access.login:whoami", "Show the current user and their grants."),
}
"""The summaries are repeated here so that the list of commands needs no command's module."""

GROUPS: Mapping[str, Sequence[str]] = {
    "Begin": (
        "adopt",
        "add",
        "new-app",
        "new-build",
        "apply",
        "create",
        "run",
        "expose",
        "process",
        "demo",
    ),
    "Look": ("status", "explain", "get", "describe", "logs", "plan", "build-chain", "wait"),
    "Change": ("edit", "set", "patch", "scale", "label", "annotate", "diff", "delete"),
    "Images and builds": (
        "builders",
        "start-build",
        "cancel-build",
        "import-image",
        "tag",
        "image",
        "rebase",
        "s2i",
        "wave",
    ),
    "Deploy": ("rollout", "hold", "resume"),
    "Promote": (
        "pipeline",
        "release",
        "promote",
        "approve",
        "reject",
        "approval-link",
        "verify",
        "evidence",
        "history",
        "rollback",
        "freeze",
        "quarantine",
    ),
    "Inside a container": ("exec", "attach", "debug", "port-forward", "cp", "rsync"),
    "Access and security": (
        "login",
        "logout",
        "whoami",
        "project",
        "projects",
        "new-project",
        "token",
        "session",
        "kubeconfig",
        "signing",
        "encryption",
        "audit",
    ),
    "The server": (
        "setup",
        "upgrade",
        "serve",
        "doctor",
        "backup",
        "restore",
        "notify",
        "prune",
        "export",
        "release-to",
        "import",
        "install",
        "uninstall",
    ),
    "Help": ("help", "options", "completion"),
}
"""Every command, by what it is for, in the order of the list of commands."""


_INTERNAL: Mapping[str, Entry] = {
    "build-pod": Entry("serve.build_pod:build_pod", "Run a build in a Pod of a cluster."),
}
"""Commands that the server itself calls, in containers of its own: no list shows them."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name) or _INTERNAL.get(cmd_name)
        if entry is None:
            return None
        command = entry.load()
        if ctx.resilient_parsing:  # a shell asks, and nothing is run
            from upwell.cli.core.completion import complete_parameters  # noqa: PLC0415 - loads kinds

            complete_parameters(command, cmd_name)
        return command

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # click looks for similar ones among those it has loaded
            raise NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from error

    @override
    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if extra.get("resilient_parsing"):  # a shell asks
            from upwell.cli.core.completion import complete_own_parameters  # noqa: PLC0415 - as above

            complete_own_parameters(self)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except KeyboardInterrupt:
            raise CommandError("interrupted", Exit.INTERRUPTED) from None

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.BadParameter as error:
            from upwell.cli.hints.choices import with_meant_word  # noqa: PLC0415 - of errors alone

            raise with_meant_word(error) from error
        except NoSuchCommand as error:
            from upwell.cli.hints.habits import with_meant_command  # noqa: PLC0415 - the same

            raise with_meant_command(error) from error
        except KeyboardInterrupt:  # while the command's modules are loaded, say
            raise CommandError("interrupted", Exit.INTERRUPTED) from None

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            with formatter.section(title):
                rows = [(name.ljust(width), COMMANDS[name].summary) for name in names]
                formatter.write_dl(rows)


_EXIT_CODES = block(
    "Exit codes",
    "0    done",
    "1    failed: the server refused, or a build or rollout failed",
    "2    invalid usage or input; nothing was changed",
    "3    the object does not exist",
    "4    the server cannot be reached",
    "5    the time limit of --timeout has passed",
    "130  interrupted",
)
_EXAMPLES = examples(
    "upwell help troubleshooting",
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
