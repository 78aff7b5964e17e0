"""`upwell create job` and `cronjob`."""

from collections.abc import Sequence

import click

from upwell.api.apps import CronJob
from upwell.api.codec import encode
from upwell.cli.changes.create.object_command import (
    COMMAND_ARGUMENT,
    NAME_ARGUMENT,
    Document,
    creates,
    new_object,
)
from upwell.cli.core.connection import Session
from upwell.cli.core.names import parse_one
from upwell.store.interface import ApiClient


def _job_spec(name: str, image: str, command: Sequence[str], restart: str) -> Document:
    container: Document = {"name": name, "image": image}
    if command:
        container["command"] = list(command)
    return {"template": {"spec": {"containers": [container], "restartPolicy": restart}}}


@creates(
    "job",
    "upwell create job migrate --image=registry.test/shop:2 -- ./migrate --all",
    "upwell create job again --from=cronjob/backup",
)
@NAME_ARGUMENT
@COMMAND_ARGUMENT
@click.option("--image", default="", show_default="that of --from", help="Image to run.")
@click.option(
    "--from",
    "source",
    default="",
    show_default="none",
    metavar="cronjob/NAME",
    help="CronJob whose job to run now.",
)
def job(name: str, command: tuple[str, ...], image: str, source: str) -> Document:
    """Create a Job that runs a command once, or a CronJob's job now."""
    if bool(image) == bool(source):
        raise click.UsageError("give --image, or --from=cronjob/NAME")
    if image:
        return new_object("batch/v1", "Job", name, spec=_job_spec(name, image, command, "Never"))
    if command:
        raise click.UsageError("--from takes no command: it is that of the CronJob")
    named = parse_one((source,))
    if named.resource is not CronJob:
        raise click.UsageError(f"--from={source}: name a CronJob as cronjob/NAME")
    session: Session = click.get_current_context().ensure_object(Session)
    found: list[CronJob] = []

    async def work(client: ApiClient) -> None:
        found.append(await client.get(CronJob, session.namespace, named.name))

    session.run(work)
    return _job_of(name, found[0])


def _job_of(name: str, cron_job: CronJob) -> Document:
    template = encode(cron_job).get("spec", {}).get("jobTemplate", {})
    metadata = template.get("metadata") or {}
    made = new_object("batch/v1", "Job", name, spec=template.get("spec", {}))
    made["metadata"] |= {
        "labels": metadata.get("labels") or {},
        "annotations": {
            **(metadata.get("annotations") or {}),
            "cronjob.kubernetes.io/instantiate": "manual",
        },
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "name": cron_job.name,
                "uid": cron_job.uid,
            }
        ],
    }
    return made


@creates(
    "cronjob",
    "upwell create cronjob backup --image=registry.test/tools:1 --schedule='0 3 * * *' -- ./backup",
)
@NAME_ARGUMENT
@COMMAND_ARGUMENT
@click.option("--image", required=True, help="Image to run.")
@click.option("--schedule", required=True, help="Schedule, as cron writes it.")
@click.option(
    "--restart",
    type=click.Choice(["OnFailure", "Never"]),
    default="OnFailure",
    show_default=True,
    help="Restart policy.",
)
def cronjob(
    name: str, command: tuple[str, ...], image: str, schedule: str, restart: str
) -> Document:
    """Create a CronJob that runs a command on a schedule."""
    job_template = {"spec": _job_spec(name, image, command, restart)}
    spec = {"schedule": schedule, "jobTemplate": job_template}
    return new_object("batch/v1", "CronJob", name, spec=spec)
