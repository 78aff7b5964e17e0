"""Reads JUnit reports: the task of a worker."""

import encodings
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import IO, Any

from upwell.policy.promotion.verification.junit import InvalidReportError, parse_report

# A worker has no files to load a codec from once it reads what needs one.
for _module in pkgutil.iter_modules(encodings.__path__):
    if _module.name.startswith(("cp1", "cp8", "iso8859", "koi8", "latin", "mac_roman", "utf_16")):
        import_module(f"encodings.{_module.name}")


def run(source: IO[bytes], argument: Mapping[str, Sequence[int]]) -> Sequence[Mapping[str, Any]]:
    """Return what each report says, or its fault; `sizes` has the bytes of each, in a row."""
    return [_read(source.read(size)) for size in argument["sizes"]]


def _read(content: bytes) -> Mapping[str, Any]:
    try:
        return asdict(parse_report(content))
    except InvalidReportError as error:
        return {"fault": str(error)}
