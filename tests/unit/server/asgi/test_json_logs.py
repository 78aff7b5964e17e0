import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from upwell.server.asgi.logs import JsonFormatter, LineFormatter


def line(message: str, *args: object, **extra: object) -> dict[str, Any]:
    logger = logging.getLogger("upwell.reconcilers.builds.builds")
    record = logger.makeRecord(
        logger.name, logging.WARNING, "builds.py", 1, message, args, None, extra=extra
    )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


def test_a_line_holds_the_record_and_its_fields() -> None:
    document = line("build %s", "ended", key="Build shop/app-1", attempts=2)
    assert document.pop("time").endswith("+00:00")
    assert document == {
        "level": "warning",
        "logger": "upwell.reconcilers.builds.builds",
        "message": "build ended",
        "key": "Build shop/app-1",
        "attempts": 2,
    }


@pytest.mark.parametrize("name", ["time", "level", "logger"])
def test_a_field_never_stands_in_for_the_records_own(name: str) -> None:
    assert line("x", **{name: "forged"})[name] != "forged"


def test_any_value_is_written() -> None:
    document = line("x", error=ValueError("two\nlines"), keys={1}, nothing=None)
    assert document["error"] == "two\nlines"
    assert document["keys"] == "{1}"
    assert document["nothing"] is None


def test_a_value_that_holds_itself_does_not_lose_the_line() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert line("x", loop=loop)["message"] == "x"
    assert line("x", pairs={(1, 2): 3})["pairs"] == "{(1, 2): 3}"


def test_an_exception_stays_on_the_line() -> None:
    with pytest.raises(ValueError, match="oops") as caught:
        int("oops")
    fault = (caught.type, caught.value, caught.tb)
    record = logging.getLogger("a").makeRecord("a", logging.ERROR, "a.py", 1, "x", (), fault)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    assert "ValueError: invalid literal" in json.loads(text)["exception"]


def test_records_go_to_standard_error_from_the_level_on() -> None:
    program = (
        "import logging, upwell.server.asgi.logs as logs; logs.configure_logging(logging.INFO);"
        "logging.debug('hidden'); logging.info('shown')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout == ""
    assert [json.loads(text)["message"] for text in ended.stderr.splitlines()] == ["shown"]


def test_on_a_terminal_a_line_tells_what_happened_to_which_object() -> None:
    logger = logging.getLogger("upwell")
    about = {"kind": "Build", "namespace": "shop", "object": "web-1", "reason": "BuildComplete"}
    record = logger.makeRecord(
        logger.name, logging.INFO, "", 1, "event", (), None, extra=about | {"text": "made \x1b[31m"}
    )
    told = LineFormatter().format(record)
    assert told.endswith("Build shop/web-1: BuildComplete: made \\x1b[31m")


def test_on_a_terminal_the_lines_of_a_text_are_no_lines_of_the_log() -> None:
    logger = logging.getLogger("upwell")
    about = {"kind": "Deployment", "namespace": "shop", "object": "db", "reason": "RolloutFailed"}
    said = {"text": "exited 1: no room\n12:00:00 Deployment shop/db: RolloutComplete: it serves\n"}
    record = logger.makeRecord(
        logger.name, logging.INFO, "", 1, "event", (), None, extra=about | said
    )
    told = LineFormatter().format(record)
    assert "\n" not in told
    assert told.endswith(
        "exited 1: no room / 12:00:00 Deployment shop/db: RolloutComplete: it serves"
    )


def test_on_a_terminal_a_line_has_the_level_and_the_fields() -> None:
    logger = logging.getLogger("upwell")
    record = logger.makeRecord(
        logger.name, logging.WARNING, "", 1, "disk is %s", ("full",), None, extra={"free": 3}
    )
    assert LineFormatter().format(record).endswith(" warning disk is full free=3")
