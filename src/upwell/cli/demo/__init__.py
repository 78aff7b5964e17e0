"""`upwell demo`: the glibc story with real parts, from the vendor's push to the last answer.

`performance` frames it: signals, exit code, clearing up; `replay` plays it; `facts` says what has
happened, and `endings` what has to be true at last; `teardown` removes it from its folder alone.
"""

import asyncio
from pathlib import Path

import click

from upwell.cli.core.examples import examples


@click.command(
    epilog=examples(
        "upwell demo",
        "upwell demo --break",
        "upwell demo --webhook --plain",
        "upwell demo --keep",
        "upwell demo --stop",
    )
)
@click.option("--keep", is_flag=True, help="Leave everything running, and print the addresses.")
@click.option("--stop", is_flag=True, help="Remove demos that were kept or have crashed.")
@click.option(
    "--webhook",
    is_flag=True,
    help="Have the vendor's registry tell of its pushes, and look every 30 s only, not every 2.",
)
@click.option(
    "--break",
    "broken",
    is_flag=True,
    help="Show the other ending: on the vendor's new image, one application fails its tests.",
)
@click.option("--plain", is_flag=True, help="Print lines; the default when stdout is no terminal.")
@click.option("--fresh", is_flag=True, help="Make the cached root file systems anew.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=None,
    help="Empty folder for everything, removed at the end; default: a new one in /var/tmp.",
)
def demo(
    keep: bool,  # noqa: FBT001 - click passes options by name
    stop: bool,  # noqa: FBT001 - the same
    webhook: bool,  # noqa: FBT001 - the same
    plain: bool,  # noqa: FBT001 - the same
    fresh: bool,  # noqa: FBT001 - the same
    broken: bool,  # noqa: FBT001 - the same
    data_dir: Path | None,
) -> None:
    """Replay a real base image fix on this machine.

    A vendor's registry holds a Debian image without its security updates. Upwell builds a Python
    builder and two applications on it, and takes both through dev and staging to production, where
    they run under a steady load. Then the vendor pushes the fixed image, and nobody does anything:
    Upwell builds again what stands on it, once, rolls both applications out in one stage after the
    other, and tests them there. The demo prints when each step happened, and what was lost.

    With --break, the fixed image lacks the time zones, and an application fails its tests in dev:
    there, it goes back; the other stages never see it; and the other application goes on.

    Exits 0 only if all that it claims is true. Ctrl-C at any time stops and removes everything.
    """
    from upwell.cli.demo.performance import DemoOptions, perform, stop_left_behind  # noqa: PLC0415

    if stop:
        asyncio.run(stop_left_behind(data_dir))
    else:
        asyncio.run(perform(DemoOptions(data_dir, keep, webhook, plain, fresh, broken)))
