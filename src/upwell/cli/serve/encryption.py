"""`upwell encryption`: keys of what the server keeps on disk."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, output_option, write_report
from upwell.cli.core.terminal import echo

if TYPE_CHECKING:
    from upwell.api.requests.encryption import EncryptionStatus
    from upwell.store.interface import ApiClient

_POLL_SECONDS = 0.5


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell encryption new-key /etc/upwell/encryption.key",
        "upwell encryption status",
        "upwell encryption rotate",
    ),
)
def encryption() -> None:
    """Show and rotate the keys of what the server keeps on disk; make a key.

    `[encryption] keys` of the configuration file names them (docs/encryption.md).
    """


@encryption.command(
    "new-key",
    epilog=examples(
        "upwell encryption new-key /etc/upwell/encryption.key",
        "upwell encryption new-key"
        " 'pkcs11:token=upwell;object=data?module-path=/usr/lib/softhsm/libsofthsm2.so"
        "&pin-source=/etc/upwell/pin'",
    ),
)
@click.argument("place", metavar="FILE|pkcs11:URI")
def new_key(place: str) -> None:
    """Write a new key to FILE, for its owner alone, or make one on a PKCS#11 token.

    Prints it as [encryption] keys names it. Keep a copy where the data folder's copies are not
    (of a token, its own backup): without the key, nobody reads the database.
    """
    from upwell.encryption.faults import EncryptionKeyError  # noqa: PLC0415 - loads cryptography
    from upwell.encryption.keys import (  # noqa: PLC0415 - the same
        InvalidKeySourceError,
        KeySource,
    )

    if place.startswith("pkcs11:"):
        text = place
    else:
        path = Path(place).absolute()
        _require_outside_of_data(path)
        text = f"file:{path}"
    try:
        source = KeySource.parse(text)
        source.make()
    except OSError as error:
        raise CommandError(
            f"{error.strerror}: {place}" if error.strerror else str(error)
        ) from error
    except (EncryptionKeyError, InvalidKeySourceError) as error:
        raise CommandError(str(error)) from error
    echo(str(source))


def _require_outside_of_data(path: Path) -> None:
    """Raise CommandError for a file in a data folder: whoever copies that would have its key."""
    folder = next((one for one in path.resolve().parents if (one / "upwell.db").exists()), None)
    if folder is not None:
        raise CommandError(
            f"{path} is in the data folder {folder}, which it protects: name a file elsewhere, such"
            " as /etc/upwell/encryption.key"
        )


@encryption.command(epilog=examples("upwell encryption status", "upwell encryption status -o json"))
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def status(session: Session, output: str) -> None:
    """Show whether the store is encrypted, by which key, and how far a rotation is."""

    async def work(client: "ApiClient") -> None:
        found = await _ask(client, rotate=False)
        if output != Format.TABLE:
            write_report("EncryptionStatus", found.model_dump(mode="json"), output)
            return
        for line in _table(found):
            echo(line)

    session.run(work)


@encryption.command(
    epilog=examples("upwell encryption rotate", "upwell encryption rotate --no-wait")
)
@click.option("--no-wait", is_flag=True, help="Return as soon as it has begun.")
@connection_options
@click.pass_obj
def rotate(session: Session, *, no_wait: bool) -> None:
    """Encrypt everything by a new data key, while the server goes on serving.

    A rotation that is interrupted goes on when the server starts again.
    """

    async def work(client: "ApiClient") -> None:
        found = await _ask(client, rotate=True)
        while found.rotating and not no_wait:
            await asyncio.sleep(_POLL_SECONDS)
            found = await _ask(client, rotate=False)
        for line in _table(found):
            echo(line)
        if found.fault and not found.rotating:
            raise CommandError(found.fault)

    session.run(work)


async def _ask(client: "ApiClient", *, rotate: bool) -> "EncryptionStatus":
    from upwell.api.requests.encryption import (  # noqa: PLC0415 - loads the API's models
        Encryption,
        EncryptionSpec,
    )

    answer = await client.create(Encryption(spec=EncryptionSpec(rotate=rotate)))
    return answer.status


def _table(found: "EncryptionStatus") -> list[str]:
    if not found.source:
        return ["not encrypted: name a key in [encryption] keys (`upwell encryption new-key FILE`)"]
    state = f"rotating, {found.rows_left} left" if found.rotating else "encrypted"
    table = [("KEY", "DATA KEY", "STATE"), (found.source, found.data_key, state)]
    return [*aligned(table), *([f"fault: {found.fault}"] if found.fault else [])]
