"""Structured logs on standard error: one JSON object a line; on a terminal, lines for people."""

import json
import logging
import re
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Time, level, logger, the constant message, then the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        document = fields | document  # a field never stands in for the record's own
        try:
            return json.dumps(document, default=str)
        except (TypeError, ValueError):  # a key that is no text, or a value that holds itself
            return json.dumps({name: str(value) for name, value in document.items()})


class LineFormatter(logging.Formatter):
    """Time of day, level but for info, the message or what happened to which object, and fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in which no control character is sent to the terminal."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        told = record.getMessage()
        if {"kind", "namespace", "object", "reason", "text"} <= fields.keys():
            kind, namespace, name, reason, text = (
                fields.pop(key) for key in ("kind", "namespace", "object", "reason", "text")
            )
            told = f"{kind} {namespace}{'/' if namespace else ''}{name}: {reason}: {text}"
        words = [datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")]
        words += [] if record.levelno == logging.INFO else [record.levelname.lower()]
        words += [told, *(f"{name}={value}" for name, value in fields.items())]
        # What a container said at last has lines, which are no lines of the log.
        lines = (line.strip() for line in " ".join(words).splitlines())
        text = " / ".join(line for line in lines if line)
        if record.exc_info:
            text = f"{text} {self.formatException(record.exc_info)}"
        return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def configure_logging(level: int) -> None:
    """Send every log record of at least `level` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter() if sys.stderr.isatty() else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A client that tries TLS first (Buildah, Podman) is no event worth a warning.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
