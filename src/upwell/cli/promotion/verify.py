"""`upwell verify`: report a CI's verdict on a Release in a stage, or verify a stage again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.cli.builds.uploads import UploadChoice, opened
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.names import parse_named
from upwell.cli.core.output import Format, full_name
from upwell.cli.core.terminal import echo
from upwell.cli.promotion.requests import WaitOptions, ask, finish, run_option, wait_options
from upwell.store.interface import ApiClient


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Verdict of a CI, from the options."""

    stage: str
    passed: bool
    check: str
    message: str
    run: str
    evidence: Sequence[str]

    def body(self, evidence: Sequence[dict[str, Any]]) -> dict[str, Any]:
        texts = {"check": self.check, "message": self.message, "run": self.run}
        given = {key: text for key, text in texts.items() if text}
        return {"stage": self.stage, "passed": self.passed, "evidence": list(evidence), **given}


@click.command(
    epilog=examples(
        "upwell verify shop-7 --stage dev --passed --evidence junit.xml --run $BUILD_ID",
        "upwell verify shop-7 --stage dev --failed --message '2 of 40 fail'"
        " --evidence https://ci.example.com/7",
        "upwell verify pipeline/shop --stage production --again --wait",
    )
)
@click.argument("what", metavar="RELEASE|pipeline/NAME")
@click.option("--stage", required=True, help="Stage that was tested.")
@click.option(
    "--passed/--failed",
    "passed",
    default=None,
    show_default="none",
    help="Verdict on the Release.",
)
@click.option(
    "--check",
    default="",
    show_default="the only one that waits",
    help="Check of the stage that the verdict is on.",
)
@click.option("--message", default="", show_default="none", help="Result of the test, in a line.")
@click.option(
    "--evidence",
    multiple=True,
    metavar="FILE|URL",
    help="File to keep with the promotion, or a URL to link to; repeatable.",
)
@click.option(
    "--again", is_flag=True, help="Verify the serving Release of a Pipeline's stage again."
)
@run_option
@wait_options
@connection_options
@click.pass_obj
def verify(session: Session, /, what: str, passed: bool | None, **options: Any) -> None:  # noqa: FBT001 - click passes options by name
    """Report the verdict of a CI on a Release in a stage.

    The check is one of the stage that waits for a CI's answer. A repeated verdict, or the same
    --run, has no further effect. With --again, Upwell's own checks of a stage run again on the
    serving Release; if they fail, it is not promoted further.
    """
    waiting = WaitOptions.take_from(options)
    again = options.pop("again")
    [named] = parse_named([what] if "/" in what else [f"release/{what}"])
    if again != (named.resource is Pipeline) or (passed is None) != again:
        raise click.UsageError(
            "write `verify RELEASE --stage S --passed|--failed`,"
            " or `verify pipeline/NAME --stage S --again`"
        )
    place = (session.namespace, named.name)

    async def work(client: ApiClient) -> None:
        if again:
            body = {"stage": options["stage"], "reason": options["message"], "run": options["run"]}
            promotion = await ask(client, Pipeline, place, "verify", body)
        elif named.resource is Release:
            verdict = _Verdict(passed=bool(passed), **options)
            kept = [await _kept(client, place, piece) for piece in verdict.evidence]
            answer = await client.call("POST", Release, *place, "verify", verdict.body(kept))
            promotion = decode_as(Promotion, answer["promotion"])
            result = f"check {answer['check']} {'passed' if verdict.passed else 'failed'}"
            if not waiting.wait and waiting.output == Format.TABLE:
                echo(f"{full_name(promotion)} {result}")
                return
            echo(result, err=True)
        else:
            raise CommandError(f"{named} is neither a release nor a pipeline", Exit.USAGE)
        await finish(client, promotion, waiting)

    session.run(work)


async def _kept(client: ApiClient, place: tuple[str, str], piece: str) -> dict[str, Any]:
    """Return a piece of evidence for the request; a file is uploaded first."""
    if piece.startswith(("http://", "https://")):
        return {"name": piece.rstrip("/").rpartition("/")[2] or piece, "url": piece}
    with opened(UploadChoice({"file": piece})) as upload:
        name = {"name": upload.params["asFile"]}
        kept = await client.upload(Release, *place, "evidence", upload.pieces(), name)
    return {"name": kept["name"], "digest": kept["digest"]}
