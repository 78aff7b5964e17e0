"""`start-build --from-webhook`: call a generic webhook, also from git's post-receive hook."""

import asyncio
import http
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.cli.builds.commits import commit_facts
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo

_KEY = "upwell.cli.builds.webhook_calls"
_SECONDS = 30
_MAX_PUSH_BYTES = 1024 * 1024
_LINE_WORDS = 3


@dataclass(slots=True)
class WebhookChoice:
    """Webhook options of one call."""

    url: str = ""
    post_receive: str = ""
    repository: str = "."


def webhook_options[F: Callable[..., Any]](function: F) -> F:
    """Add the webhook options to a command; `webhook_choice` reads them."""
    for option in (
        _option(
            "repository",
            "--git-repository",
            metavar="DIR",
            show_default="the current folder",
            help="Git repository of --git-post-receive.",
        ),
        _option(
            "post_receive",
            "--git-post-receive",
            metavar="FILE",
            show_default="none",
            help="Input of git's post-receive hook to send with --from-webhook, or - for stdin.",
        ),
        _option(
            "url",
            "--from-webhook",
            metavar="URL",
            show_default="none",
            help="URL of a generic webhook to call instead of the API.",
        ),
    ):
        function = option(function)
    return function


def webhook_choice(ctx: click.Context) -> WebhookChoice:
    """Return the webhook options of this call; raises click.UsageError."""
    choice: WebhookChoice = ctx.meta.setdefault(_KEY, WebhookChoice())
    if choice.post_receive and not choice.url:
        raise click.UsageError("--git-post-receive needs --from-webhook")
    return choice


def call_webhook(choice: WebhookChoice) -> None:
    """Call the webhook; raises CommandError.

    A push that only deletes refs makes no call.
    """
    payload: Mapping[str, Any] = {}
    if choice.post_receive:
        refs = list(_pushed(choice.post_receive, Path(choice.repository)))
        if not refs:
            echo("the push has no commit to build", err=True)
            return
        payload = {"type": "git", "git": {"refs": refs}}
    asyncio.run(_post(choice.url, payload))


def _option[F: Callable[..., Any]](target: str, name: str, **facts: Any) -> Callable[[F], F]:
    def store(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
        del parameter
        if value:
            setattr(ctx.meta.setdefault(_KEY, WebhookChoice()), target, value)

    return click.option(name, expose_value=False, callback=store, **facts)


def _pushed(source: str, repository: Path) -> Iterator[dict[str, Any]]:
    """Yield the refs that a push has set, with their commits (build/v1 GitRefInfo)."""
    for line in _read(source).splitlines():
        words = line.split()
        if len(words) != _LINE_WORDS:
            raise click.UsageError(f"--git-post-receive: {line[:80]!r} is not a line OLD NEW REF")
        _, new, ref = words
        if not new.strip("0"):
            continue  # the ref was deleted
        facts = commit_facts(repository, new)
        yield {
            "ref": ref,
            "commit": facts["commit"],
            "author": {"name": facts["authorName"], "email": facts["authorEmail"]},
            "committer": {"name": facts["committerName"], "email": facts["committerEmail"]},
            "message": facts["message"],
        }


def _read(source: str) -> str:
    try:
        if source == "-":
            content = sys.stdin.buffer.read(_MAX_PUSH_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(_MAX_PUSH_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}", Exit.USAGE) from error
    if len(content) > _MAX_PUSH_BYTES:
        raise CommandError(f"{source}: more than {_MAX_PUSH_BYTES} bytes", Exit.USAGE)
    return content.decode(errors="replace")


async def _post(url: str, payload: Mapping[str, Any]) -> None:
    import aiohttp  # noqa: PLC0415 - for webhooks alone: other builds start sooner

    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=payload, allow_redirects=False) as answer,
        ):
            if answer.status != http.HTTPStatus.OK:
                raise CommandError(f"the webhook answered {answer.status}: no build was started")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        # The URL holds a secret: it is not repeated.
        raise CommandError("cannot reach the webhook", Exit.UNREACHABLE) from error
