"""`upwell signing`: the key by which the server signs the images that it builds."""

from typing import TYPE_CHECKING

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo

if TYPE_CHECKING:
    from upwell.store.interface import ApiClient

_PATH = "/image-signing.pub"
_END = "-----END PUBLIC KEY-----"


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell signing public-key > image-signing.pub",
        "upwell signing rotate",
    ),
)
def signing() -> None:
    """Print the public key of signed images; rotate the key (docs/signatures.md)."""


@signing.command(
    "public-key",
    epilog=examples(
        "upwell signing public-key > image-signing.pub",
        "cosign verify --key image-signing.pub --insecure-ignore-tlog IMAGE",
    ),
)
@click.option("--all", "is_all", is_flag=True, help="Those of earlier keys too, the newest first.")
@connection_options
@click.pass_obj
def public_key(session: Session, *, is_all: bool) -> None:
    """Print the public key that verifies what is signed now, in PEM."""

    async def work(client: "ApiClient") -> None:
        keys = (await client.get_raw(_PATH)).decode()
        echo((keys if is_all else keys.partition(_END)[0] + _END).strip())

    session.run(work)


@signing.command(epilog=examples("upwell signing rotate"))
@connection_options
@click.pass_obj
def rotate(session: Session) -> None:
    """Have images signed by a new key from now on, and print its public half.

    The old public keys are kept: what they signed stays verified. Give the new one to verifiers.
    """

    async def work(client: "ApiClient") -> None:
        from upwell.api.requests.image_signing_key import (  # noqa: PLC0415 - loads the API's models
            ImageSigningKey,
            ImageSigningKeySpec,
        )

        answer = await client.create(ImageSigningKey(spec=ImageSigningKeySpec(rotate=True)))
        echo(answer.status.public_keys[0].strip())

    session.run(work)
