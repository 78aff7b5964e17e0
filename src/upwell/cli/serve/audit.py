"""`upwell audit`: verification of the audit log of this machine's server, running or not."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from upwell.audit.chain import Link
from upwell.audit.heads import AuditKeyError, HeadKey
from upwell.audit.log import AuditFiles
from upwell.audit.verification import ChainReport, verify_chain
from upwell.cli.core.errors import Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import Format, aligned, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.serve.options import data_dir_option


class _LinkType(click.ParamType[Link]):
    name = "SEQ:DIGEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Link:
        """Return the line that a text names."""
        seq, _, digest = str(value).partition(":")
        if not (seq.isascii() and seq.isdigit()) or len(digest) != len(Link().digest):
            self.fail(f"{value!r} is no SEQ:DIGEST, as `upwell audit verify` prints it", param, ctx)
        return Link(int(seq), digest)


@click.group(epilog=examples("upwell audit verify"))
def audit() -> None:
    """Verify the audit log."""


@audit.command(
    epilog=examples(
        "upwell audit verify",
        "upwell audit verify --data-dir /mnt/backup/upwell --key audit.pub",
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
        head_key = HeadKey.load(key or folder / "audit.pub")
        reports = dict(_reports(folder, head_key, heads))
    except AuditKeyError as error:
        raise click.ClickException(f"{error}; name it with --key") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}") from error
    if not any(report.lines or report.faults for report in reports.values()):
        raise click.ClickException(f"{folder} has no audit log; name another with --data-dir")
    if output == Format.TABLE:
        for line in _table(reports, head_key):
            echo(line)
    else:
        write_data(_data(reports, head_key), output)
    broken = any(report.faults for report in reports.values())
    sys.exit(Exit.FAILED if broken else Exit.DONE)


def _reports(
    folder: Path, key: HeadKey, heads: tuple[Link, ...]
) -> Iterator[tuple[str, ChainReport]]:
    answered, denied = AuditFiles(folder).paths
    report = verify_chain(answered, key)
    for head in heads:
        report.faults += verify_chain(answered, key, head).faults
    report.faults = list(dict.fromkeys(report.faults))
    yield answered.name, report
    yield denied.name, verify_chain(denied, key)


def _table(reports: Mapping[str, ChainReport], key: HeadKey) -> Iterator[str]:
    rows = [("LOG", "LINES", "FROM", "TO", "HEADS", "STATUS")]
    for name, report in reports.items():
        status = "BROKEN" if report.faults else "ok"
        span = (report.begins or "-", report.ends or "-")
        rows.append((name, str(report.lines), *span, str(report.heads), status))
    yield from aligned(rows)
    for name, report in reports.items():
        yield from (f"\n{name}: {fault}" for fault in report.faults)
        yield from (f"\n{name}: damaged lines, {one} (power cut)" for one in report.damages)
        if report.first > 1:
            yield f"\n{name} begins with line {report.first}: older files were removed"
        if report.unsigned and not report.faults:
            yield f"\n{name}: {report.unsigned} lines came after the last signed head"
    answered = next(iter(reports.values()))
    if not answered.faults and answered.lines:
        yield f"\nkey:  {key.id}\nhead: {answered.last}"


def _data(reports: Mapping[str, ChainReport], key: HeadKey) -> dict[str, Any]:
    return {
        "key": key.id,
        "chains": [
            {
                "log": name,
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
            for name, report in reports.items()
        ],
    }
