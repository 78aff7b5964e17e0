"""JUnit XML: how many tests ran and which failed, read from what nobody trusts.

The format has no owner; this reads what Surefire, pytest, Jest, Go and GoogleTest write. A document
type is refused (entities can grow without bounds), and so is anything that is no test report.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from xml.parsers import expat

PRINTED = "/dev/stdout"
"""Path of a report that is in the test's log."""
_ROOT = re.compile(rb"<(testsuites?)(?=[\s/>])")
_NO_MEMORY = expat.errors.codes[expat.errors.XML_ERROR_NO_MEMORY]
_MAX_PRINTED = 2000
_MAX_DEPTH = 64
_MAX_CASES = 500_000
_NAMED = 5
"""Failed tests that are kept by their names."""
_MAX_NAME = 200
_SKIPPED = "skipped"
_OUTCOMES = {"failure", "error", _SKIPPED}
_NOT_RUN = {"notrun", "suppressed"}
"""GoogleTest's `status` of a test that was left out."""


class InvalidReportError(ValueError):
    """The file is no JUnit report that can be read."""


@dataclass(frozen=True, slots=True)
class Report:
    """Totals of one report, or of several together."""

    tests: int = 0
    failures: int = 0
    errors: int = 0
    skipped: int = 0
    failed: tuple[str, ...] = ()
    """Names of the first tests that failed."""

    @property
    def ran(self) -> int:
        """Number of tests that were not skipped."""
        return self.tests - self.skipped

    @property
    def bad(self) -> int:
        """Number of tests that did not pass."""
        return self.failures + self.errors

    def __add__(self, other: Self) -> "Report":
        return Report(
            self.tests + other.tests,
            self.failures + other.failures,
            self.errors + other.errors,
            self.skipped + other.skipped,
            (*self.failed, *other.failed)[:_NAMED],
        )

    def __str__(self) -> str:
        text = f"{self.ran} tests, {self.bad} failed"
        return f"{text} ({', '.join(self.failed)})" if self.failed else text


def parse_report(content: bytes) -> Report:
    """Read a report; raises InvalidReportError, or MemoryError.

    Tests are counted as they stand there. A suite that claims more failures than it shows is
    believed: a runner that crashed has no test to blame.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    try:
        parser.Parse(content, True)  # noqa: FBT003 - expat takes it by position alone
    except InvalidReportError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, expat.ExpatError) and error.code == _NO_MEMORY:
            raise MemoryError from error
        raise InvalidReportError(f"not a JUnit report: {error}") from error
    return reader.report()


def printed_reports(log: bytes) -> tuple[bytes, ...]:
    """Return the reports that a test has printed, each from its first tag to its last.

    Raises InvalidReportError for one that does not end, and for more than 2000.
    """
    found: list[bytes] = []
    at = 0
    while (opened := _ROOT.search(log, at)) is not None:
        closing = b"</" + opened[1] + b">"
        end = log.find(closing, opened.end())
        if end < 0:
            raise InvalidReportError(f"the report in the log has no {closing.decode()}")
        if len(found) == _MAX_PRINTED:
            raise InvalidReportError(f"more than {_MAX_PRINTED} reports in the log")
        at = end + len(closing)
        found.append(log[opened.start() : at])
    return tuple(found)


class _Reader:
    """Counts while the parser walks; holds nothing of the document but names of failed tests."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._case: Mapping[str, str] = {}
        self._outcome = ""
        self._counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        self._claims = {"failures": 0, "errors": 0}
        self._failed: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        element = name.rpartition(":")[2]
        if not self._path and element not in {"testsuites", "testsuite"}:
            raise InvalidReportError(f"the document is a {element[:_MAX_NAME]!r}")
        self._path.append(element)
        if len(self._path) > _MAX_DEPTH:
            raise InvalidReportError(f"nested more than {_MAX_DEPTH} deep")
        if element in {"testsuites", "testsuite"}:
            self._claim(attributes)
        elif element == "testcase":
            self._case = attributes
            self._outcome = _SKIPPED if attributes.get("status", "") in _NOT_RUN else ""
        elif self._path[-2] == "testcase" and element in _OUTCOMES:
            # A test that is broken in more than one way is one test; a failure outweighs a skip.
            self._outcome = element if self._outcome in {"", _SKIPPED} else self._outcome

    def end(self, name: str) -> None:
        self._path.pop()
        if name.rpartition(":")[2] != "testcase":
            return
        self._counts["tests"] += 1
        if self._counts["tests"] > _MAX_CASES:
            raise InvalidReportError(f"more than {_MAX_CASES} tests")
        if self._outcome == _SKIPPED:
            self._counts["skipped"] += 1
        elif self._outcome:
            self._counts["failures" if self._outcome == "failure" else "errors"] += 1
            if len(self._failed) < _NAMED:
                parts = (self._case.get("classname", ""), self._case.get("name", ""))
                self._failed.append(".".join(filter(None, parts))[:_MAX_NAME])

    def refuse_doctype(self, *_: object) -> None:
        raise InvalidReportError("a document type is not allowed")

    def _claim(self, attributes: Mapping[str, str]) -> None:
        for name, known in self._claims.items():
            text = attributes.get(name, "0").strip() or "0"
            if not (text.isascii() and text.isdigit()) or len(text) > len(str(_MAX_CASES)):
                raise InvalidReportError(f"{name}={text[:_MAX_NAME]!r} is no count")
            # The largest, not the sum: a suite's count is in that of the suites around it.
            self._claims[name] = max(known, int(text))

    def report(self) -> Report:
        counts, claims = self._counts, self._claims
        return Report(
            counts["tests"],
            max(counts["failures"], claims["failures"]),
            max(counts["errors"], claims["errors"]),
            counts["skipped"],
            tuple(self._failed),
        )
