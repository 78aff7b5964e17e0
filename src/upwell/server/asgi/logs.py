"""Structured logs: one JSON object a line on standard error."""

import json
import logging
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


def configure_logging(level: int) -> None:
    """Send every log record of at least `level` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # A client that tries TLS first (Buildah, Podman) is no event worth a warning.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
