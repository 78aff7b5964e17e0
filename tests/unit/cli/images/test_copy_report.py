"""Progress of `image mirror`: one line on a terminal, a line for each piece in a pipe."""

import pytest

from upwell.cli.images.image import CopyReport
from upwell.cli.presentation.progress import ProgressLine
from upwell.oci import Descriptor, Digest, Reference
from upwell.registry.copying import CopyProgress, CopyStep

TARGET = Reference.parse("backup.test/team/app:1")
MIB = 1024 * 1024


def steps() -> list[CopyProgress]:
    pieces = [Descriptor("application/x", Digest.of(text), MIB) for text in (b"one", b"two")]
    kinds = (CopyStep.COPIED, CopyStep.PRESENT)
    return [CopyProgress(step, one, TARGET) for step, one in zip(kinds, pieces, strict=True)]


@pytest.mark.parametrize(
    ("is_terminal", "shown"),
    [
        (True, "\r\x1b[Kteam/app: 1 blobs and manifests: 1.0 MiB"),
        (False, f"  copied {Digest.of(b'one').short} (1048576 bytes)\n"),
    ],
)
def test_what_is_copied_is_shown(
    is_terminal: bool,  # noqa: FBT001 - a parameter
    shown: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = CopyReport(ProgressLine(is_terminal=is_terminal))
    for step in steps():
        report.report(step)
    assert capsys.readouterr().err == shown
