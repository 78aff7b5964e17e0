"""`upwell set`: change parts of workloads and BuildConfigs."""

from collections.abc import Sequence
from typing import override

import click

from upwell.cli.changes.set_builds import build_hook, build_secret, deployment_hook
from upwell.cli.changes.set_env import env
from upwell.cli.changes.set_fields import (
    data,
    image_lookup,
    route_backends,
    selector,
    serviceaccount,
)
from upwell.cli.changes.set_image import image
from upwell.cli.changes.set_probe import probe
from upwell.cli.changes.set_resources import resources
from upwell.cli.changes.set_triggers import triggers
from upwell.cli.changes.set_volume import volume
from upwell.cli.core.examples import examples

_ALIASES = {
    "volumes": "volume",
    "probes": "probe",
    "trigger": "triggers",
    "images": "image",
    "sa": "serviceaccount",
}


class SetGroup(click.Group):
    """Commands that are also found by the other number of their name."""

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))


@click.group(
    "set",
    cls=SetGroup,
    no_args_is_help=True,
    epilog=examples(
        "upwell set image deployment/shop web=registry.test/shop:2",
        "upwell set env dc/gate LEVEL=debug TRACE-",
        "upwell set volume deployment/shop --add -m /data --name data -t pvc --claim-name shop",
    ),
)
def set_command() -> None:
    """Change parts of workloads, BuildConfigs and other objects.

    Each command reads the named objects, and patches only what it is about.
    """


_COMMANDS: Sequence[click.Command] = (
    build_hook,
    build_secret,
    data,
    deployment_hook,
    env,
    image,
    image_lookup,
    probe,
    resources,
    route_backends,
    selector,
    serviceaccount,
    triggers,
    volume,
)
for _command in _COMMANDS:
    set_command.add_command(_command)
