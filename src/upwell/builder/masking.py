"""Masking of what is secret in the log of a build."""

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

from upwell.builder.interface import BuildError, BuildPlan
from upwell.machine.process import LogSink
from upwell.machine.redaction import Redaction, TooManySecretsError, basic_auth


async def masked(plan: BuildPlan, log: LogSink) -> Redaction:
    """Return a log that masks every secret of the plan; raises BuildError for too many."""
    try:
        return await asyncio.to_thread(Redaction, log, _secrets(plan))
    except TooManySecretsError as error:
        raise BuildError("GenericBuildFailed", str(error)) from error


def _secrets(plan: BuildPlan) -> Iterator[str | bytes]:
    for login in plan.logins:
        yield login.password
        yield basic_auth(login.username, login.password)
    secrets = [given.files for given in plan.inputs if given.secret]
    secrets += [volume.files for volume in plan.volumes if volume.secret]
    for files in secrets:
        yield from files.values()
    for _, value in plan.secret_env:
        yield value
    for proxy in (plan.proxies.http, plan.proxies.https):
        yield urlsplit(proxy).password or ""
