"""`upwell doctor --security`: checks of the running installation against docs/hardening.md."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from upwell.app.hardening.look import NoServerError, look_at_folder, look_at_server
from upwell.cli.core.output import aligned
from upwell.machine import clock
from upwell.policy.hardening.checks import judge_folder, judge_server, not_judged
from upwell.policy.hardening.findings import Finding, FlawSeverity
from upwell.store.interface import StoreError

_FOLDER = "data-folder-mode"


async def examine_security(data_dir: Path) -> Sequence[Finding]:
    """Check the installation of a data folder; changes nothing."""
    now = clock.now()
    try:
        found = list(judge_folder(look_at_folder(data_dir, now)))
    except OSError as error:
        return [_unreadable(data_dir, error)]
    try:
        found += judge_server(await look_at_server(data_dir, now))
    except (NoServerError, StoreError) as error:
        found.append(not_judged(str(data_dir), str(error)))
    except OSError as error:
        found.append(not_judged(str(error.filename or data_dir), error.strerror or str(error)))
    return found


def security_report(found: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of a table, each finding with its next step below it."""
    rows = [("CHECK", "STATUS", "OBJECT", "DETAIL")]
    rows += [(one.check, one.severity, one.object or "-", _one_line(one.reason)) for one in found]
    lines = aligned(rows)
    yield next(lines)
    for one, line in zip(found, lines, strict=True):
        yield line
        if one.remedy:
            yield f"  remedy: {_one_line(one.remedy)}"
    yield f"\n{_conclusion(found)}"


def security_data(found: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as the output formats have them."""
    return {
        "status": str(worst(found)),
        "checks": [
            {
                "name": one.check,
                "status": str(one.severity),
                "object": one.object,
                "detail": one.reason,
                "remedy": one.remedy,
            }
            for one in found
        ],
    }


def worst(found: Sequence[Finding]) -> FlawSeverity:
    """Return the worst severity of all."""
    seen = {one.severity for one in found}
    return next(
        (bad for bad in (FlawSeverity.FAIL, FlawSeverity.WARN) if bad in seen), FlawSeverity.OK
    )


def _conclusion(found: Sequence[Finding]) -> str:
    parts = []
    for severity, word in ((FlawSeverity.FAIL, "failed"), (FlawSeverity.WARN, "could be safer")):
        names = dict.fromkeys(one.check for one in found if one.severity is severity)
        if names:
            parts.append(f"{word}: {', '.join(names)}")
    return (
        "; ".join(parts) if parts else "Everything that was looked at is as docs/hardening.md asks"
    )


def _unreadable(data_dir: Path, error: OSError) -> Finding:
    reason = error.strerror or str(error)
    remedy = "name the server's folder with --data-dir, and run it as the server's user"
    return Finding(_FOLDER, FlawSeverity.FAIL, str(error.filename or data_dir), reason, remedy)


def _one_line(text: str) -> str:
    return " ".join(text.split())
