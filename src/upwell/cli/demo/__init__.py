"""`upwell demo`: replay of a glibc fix with real parts, from the vendor's push to production.

`runner` handles signals, exit code and cleanup; `replay` takes the steps; `progress` derives the
timeline from observed objects, and `outcomes` the claims at the end; `teardown` removes a demo by
its folder alone.
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
        "upwell demo --on kubernetes --kubeconfig ~/.kube/config",
    )
)
@click.option(
    "--on",
    "platform",
    type=click.Choice(["machine", "kubernetes"]),
    default="machine",
    show_default=True,
    help="Where the applications run.",
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Access to the cluster of --on kubernetes, which has no Upwell.",
)
@click.option("--keep", is_flag=True, help="Leave everything running at the end, and print URLs.")
@click.option("--stop", is_flag=True, help="Stop and remove demos that were kept or have crashed.")
@click.option(
    "--webhook",
    is_flag=True,
    help="Import on the registry's webhook, with polling every 30 s instead of every 2 s.",
)
@click.option(
    "--break",
    "broken",
    is_flag=True,
    help="Replay a fix on which one application fails its tests.",
)
@click.option("--plain", is_flag=True, help="Print lines.  [default: if stdout is not a terminal]")
@click.option("--fresh", is_flag=True, help="Rebuild the cached root file systems.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=None,
    help="Empty folder for all data, removed at the end.  [default: a new one in /var/tmp]",
)
def demo(  # noqa: PLR0913, PLR0917 - each option is a parameter
    platform: str,
    kubeconfig: Path | None,
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
    builder and two applications on it, and promotes both through dev and staging to production,
    where they run under a steady load. Then the vendor pushes the fixed image, and without any
    manual step Upwell rebuilds each dependent image once, rolls both applications out stage by
    stage, and tests them in each. The demo prints the time of each step, and the failed requests.

    With --break, the fixed image lacks the time zones, and one application fails its tests in dev:
    its dev stage is rolled back, the other stages keep their image, and the other application is
    promoted.

    With --on kubernetes, one application is built here, and a cluster rolls it out and tests it by
    Jobs, in dev and in production: its nodes have to reach this machine's loopback, as those of a
    cluster on it do. Upwell's kinds and the namespace upwell-demo are made there, and removed.

    Exits 0 only if all claims hold. Ctrl-C at any time stops and removes everything.
    """
    from upwell.cli.demo.runner import DemoOptions, run_demo, stop_leftovers  # noqa: PLC0415

    if (platform == "kubernetes") != (kubeconfig is not None) and not stop:
        raise click.UsageError("--on kubernetes and --kubeconfig: name both or neither")
    if kubeconfig is not None and (broken or webhook):
        raise click.UsageError("--break and --webhook are of the demo on this machine")
    if stop:
        asyncio.run(stop_leftovers(data_dir))
    else:
        asyncio.run(
            run_demo(DemoOptions(data_dir, keep, webhook, plain, fresh, broken, kubeconfig))
        )
