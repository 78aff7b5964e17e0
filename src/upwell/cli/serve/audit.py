"""`upwell audit`: the audit log of this machine's server, running or not, or of all replicas."""

import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upwell.audit.chain import BrokenChainError, Link
from upwell.audit.collected import PUBLIC_KEY, CollectedChain, collected_chains, requests_of
from upwell.audit.heads import AuditKeyError, HeadKey
from upwell.audit.log import ANSWERED
from upwell.audit.verification import ChainReport, verify_chain
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.serve.options import data_dir_option

if TYPE_CHECKING:
    from upwell.store.interface import ApiClient


class _LinkType(click.ParamType[Link]):
    name = "SEQ:DIGEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        """Return the line that a text names."""
        seq, _, digest = str(value).partition(":")
        if not (seq.isascii() and seq.isdigit()) or len(digest) != len(Link().digest):
            self.fail(f"{value!r} is no SEQ:DIGEST, as `upwell audit verify` prints it", param, ctx)
        return Link(int(seq), digest)


@click.group(epilog=examples("upwell audit verify", "upwell audit fetch audit"))
def audit() -> None:
    """Fetch, list and verify the audit log."""


@audit.command(
    epilog=examples(
        "upwell audit fetch audit",
        "upwell audit fetch audit && upwell audit verify --data-dir audit",
    )
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@connection_options
@click.pass_obj
def fetch(session: Session, folder: Path) -> None:
    """Copy the audit logs of all replicas on a cluster into FOLDER, with their public keys.

    Each replica shares its lines within a minute, and at its end. Whoever may do everything
    everywhere may read them. Called again, it fetches what is new.
    """

    async def work(client: "ApiClient") -> None:
        from upwell.cli.serve.audit_fetching import (  # noqa: PLC0415 - loads the API's client
            fetch_logs,
        )

        fetched = await fetch_logs(client.get_raw, folder)
        echo(f"{fetched.files} files of {fetched.chains} replicas fetched into {folder}")

    session.run(work)


@audit.command(
    "list",
    epilog=examples(
        "upwell audit list",
        "upwell audit list --data-dir audit -o json | jq 'select(.verb == \"approve\")'",
    ),
)
@data_dir_option("Data directory of `upwell serve`, or a folder of `upwell audit fetch`.")
@output_option(Format.TABLE, Format.JSON)
def list_lines(data_dir: Path, output: str) -> None:
    """List the requests in the audit log by their time, of all replicas whose logs are there.

    With `-o json`, one JSON object a line, as it was recorded.
    """
    folder = data_dir.absolute()
    try:
        for line in requests_of(collected_chains(folder)):
            echo(json.dumps(line) if output == Format.JSON else _request(line))
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}") from error
    except (BrokenChainError, EOFError, zlib.error) as error:
        raise click.ClickException(f"{error}: see `upwell audit verify`") from error


def _request(line: Mapping[str, Any]) -> str:
    what = "/".join(str(line[key]) for key in ("resource", "subresource") if line.get(key))
    where = "/".join(str(line[key]) for key in ("namespace", "name") if line.get(key))
    origin = [str(line["replica"])] if line.get("replica") else []
    reason = [f"({line['reason']})"] if line.get("reason") else []
    words = (line.get("user") or "-", line.get("verb", ""), what, where or "-", line.get("code"))
    return "  ".join([str(line.get("time", "")), *origin, *(str(one) for one in words), *reason])


@audit.command(
    epilog=examples(
        "upwell audit verify",
        "upwell audit verify --data-dir /mnt/backup/upwell --key audit.pub",
        "upwell audit fetch audit && upwell audit verify --data-dir audit",
        "upwell audit verify --head 4711:1f0c…",
        "upwell audit verify -o json | jq '.chains[].faults'",
    )
)
@data_dir_option("Data directory of `upwell serve`, or another folder with its audit logs.")
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    show_default="audit.pub in the data directory",
    help="Public key of the signed heads, PEM; best a copy from elsewhere.",
)
@click.option(
    "--head",
    "heads",
    type=_LinkType(),
    multiple=True,
    help="A head of audit.log that was noted before: it must be there, unchanged.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
def verify(data_dir: Path, key: Path | None, heads: tuple[Link, ...], output: str) -> None:
    """Check that no line of the audit log was changed, removed, moved or added.

    Each line has the digest of the line before, and every minute a head is signed. What a chain
    cannot show by itself is a missing end: note the head that this prints, elsewhere, and give it
    with --head next time. Exits 1 if a log is not as it was written.
    """
    folder = data_dir.absolute()
    try:
        reports = _reports(folder, key, heads)
    except AuditKeyError as error:
        raise click.ClickException(f"{error}; name it with --key") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}") from error
    if not any(one.report.lines or one.report.faults for one in reports):
        raise click.ClickException(f"{folder} has no audit log; name another with --data-dir")
    if output == Format.TABLE:
        for line in _table(reports):
            echo(line)
    else:
        write_data(_data(reports), output)
    broken = any(one.report.faults for one in reports)
    sys.exit(Exit.FAILED if broken else Exit.DONE)


@dataclass(frozen=True, slots=True)
class _Verified:
    """Report on one log."""

    name: str
    key: HeadKey
    report: ChainReport
    chain: CollectedChain

    @property
    def is_answered(self) -> bool:
        return self.name.endswith(ANSWERED)


def _reports(folder: Path, key: Path | None, heads: tuple[Link, ...]) -> list[_Verified]:
    """Verify all logs in a folder; a head that was noted must be in one of them.

    Raises AuditKeyError, OSError.
    """
    chains = collected_chains(folder)
    if chains[0].id and key is not None:
        raise click.UsageError("--key is for the log of one server: each of these has its own")
    found: list[_Verified] = []
    for chain in chains:
        head_key = HeadKey.load(key or chain.folder / PUBLIC_KEY)
        if chain.id and head_key.id != chain.id:
            raise AuditKeyError(f"{chain.folder / PUBLIC_KEY} is the key {head_key.id}")
        for path in chain.paths:
            report = verify_chain(path, head_key)
            name = str(path.relative_to(folder))
            found.append(_Verified(name, head_key, report, chain))
    for head in heads:
        answered = [one for one in found if one.is_answered]
        faults = [verify_chain(one.chain.paths[0], one.key, head).faults for one in answered]
        if all(faults):
            answered[0].report.faults += faults[0]
    for one in found:
        one.report.faults = list(dict.fromkeys(one.report.faults))
    return found


def _table(reports: Sequence[_Verified]) -> Iterator[str]:
    is_of_replicas = bool(reports[0].chain.id)
    rows = [("LOG", "LINES", "FROM", "TO", "HEADS", "STATUS")]
    for one in reports:
        report = one.report
        status = "BROKEN" if report.faults else "ok"
        span = (report.begins or "-", report.ends or "-")
        rows.append((one.name, str(report.lines), *span, str(report.heads), status))
    yield from aligned(rows)
    for one in reports:
        name, report = one.name, one.report
        yield from (f"\n{name}: {fault}" for fault in report.faults)
        yield from (f"\n{name}: damaged lines, {one} (power cut)" for one in report.damages)
        if report.first > 1:
            yield f"\n{name} begins with line {report.first}: older files were removed"
        if report.unsigned and not report.faults:
            yield f"\n{name}: {report.unsigned} lines came after the last signed head"
        if is_of_replicas and one.is_answered and not report.lines:
            yield (
                f"\n{name}: no lines are here: if `upwell audit fetch` named none that it could not"
                " get, they were removed"
            )
        if is_of_replicas and report.lines and not report.is_ended:
            yield (
                f"\n{name}: replica {report.replica or '?'} has not ended it: if it runs no more,"
                " up to a minute of its lines may be missing"
            )
    for one in reports:
        if one.is_answered and not one.report.faults and one.report.lines:
            of = f" of replica {one.report.replica or '?'}" if is_of_replicas else ""
            yield f"\nkey:  {one.key.id}{of}\nhead: {one.report.last}"


def _data(reports: Sequence[_Verified]) -> dict[str, Any]:
    chains = []
    for one in reports:
        report = one.report
        found = {
            "log": one.name,
            "lines": report.lines,
            "first": report.first,
            "head": str(report.last),
            "from": report.begins,
            "to": report.ends,
            "heads": report.heads,
            "unsigned": report.unsigned,
            "damages": report.damages,
            "faults": report.faults,
        }
        if one.chain.id:
            found |= {"key": one.key.id, "replica": report.replica, "ended": report.is_ended}
        chains.append(found)
    is_of_replicas = bool(reports[0].chain.id)
    return {"chains": chains} if is_of_replicas else {"key": reports[0].key.id, "chains": chains}
