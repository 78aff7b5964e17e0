"""`upwell image verify`: what image policies say of an image, without using it."""

from pathlib import Path

import click

from upwell.api.codec import decode_as, encode
from upwell.api.image_policies.policy import ImagePolicyResource, ImagePolicySpec, PolicyPoint
from upwell.api.image_policies.review import ImagePolicyReview, ImagePolicyReviewSpec, PolicyAnswer
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import load_manifests
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, output_option, shortened, write_data
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient


@click.command(
    "verify",
    epilog=examples(
        "upwell image verify quay.io/team/app:1",
        "upwell image verify quay.io/team/app:1 --at promotion --stage production",
        "upwell image verify docker.io/library/debian:12 -f policy.yaml",
    ),
)
@click.argument("image")
@click.option(
    "--at",
    "point",
    type=click.Choice([str(point) for point in PolicyPoint]),
    default=str(PolicyPoint.ROLLOUT),
    show_default=True,
    help="Point at which the image would be judged.",
)
@click.option("--stage", default="", show_default="any", help="Stage of the promotion.")
@click.option(
    "-f",
    "--filename",
    type=click.Path(path_type=Path),
    default=None,
    show_default="the policies of the server",
    help="File of a ClusterImagePolicy or ImagePolicy to try in their place.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def verify(
    session: Session, /, image: str, point: str, stage: str, filename: Path | None, output: str
) -> None:
    """Say whether image policies let IMAGE pass, and why not; exits 1 if they do not.

    The server looks at the image's signatures with the logins of the namespace, and does nothing
    else with it.
    """
    trial = _trial(filename, session) if filename is not None else None
    spec = ImagePolicyReviewSpec(image=image, at=point, stage=stage, policy=trial)

    async def work(client: ApiClient) -> None:
        review = ImagePolicyReview(spec=spec).with_metadata(namespace=session.namespace)
        answer = await client.call(
            "POST", ImagePolicyReview, session.namespace, "", "", encode(review)
        )
        if output != Format.TABLE:
            write_data(answer, output)
        status = decode_as(ImagePolicyReview, answer).status
        if status.note:
            echo(f"note: {status.note}", err=True)
        if output == Format.TABLE:
            _print(status.image, status.policies)
        if not status.allowed:
            raise CommandError(f"image {shortened(status.image)} would be refused")

    session.run(work)


def _trial(filename: Path, session: Session) -> ImagePolicySpec:
    """Return the policy of a file; raises CommandError."""
    loaded = load_manifests([str(filename)], session, recursive=False)
    manifests = [one.resource for one in loaded]
    policies = [one for one in manifests if isinstance(one, ImagePolicyResource)]
    if len(policies) != 1 or len(manifests) != 1:
        why = f"{filename} has {len(policies)} image policies among {len(manifests)} objects"
        raise CommandError(f"{why}: expected one policy", Exit.USAGE)
    return policies[0].spec


def _print(image: str, answers: tuple[PolicyAnswer, ...]) -> None:
    echo(image)
    for answer in answers:
        passed = f"passed: {answer.message}" if answer.message else "passed"
        outcome = passed if answer.passed else f"{answer.reason}: {answer.message}"
        mode = "" if answer.passed else f" ({answer.mode})"
        echo(f"  {answer.policy}{mode}: {outcome}")
    if not answers:
        echo("  no policy is about it")
