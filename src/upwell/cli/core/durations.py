"""Parameter types for times: `90s`, `5m`, `1h30m`, `0` for no limit; `8h` from now, a date."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, override

import click

from upwell.cli.core.errors import CommandError, Exit
from upwell.machine import clock

_PART = re.compile(r"(\d+(?:\.\d+)?)(h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


class _Duration(click.ParamType[float]):
    """Seconds, from `1h30m`, `90s` or a bare number of seconds."""

    name = "duration"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = str(value)
        if text.replace(".", "", 1).isdecimal():
            return float(text)
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(f"{text!r} is not a duration such as 90s, 5m or 1h30m", param, ctx)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)


TIMEOUT = _Duration()


class _Span(click.ParamType[timedelta]):
    """A duration that has units, such as 12h or 90d."""

    name = "duration"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        from upwell.policy.images.schedule import InvalidDurationError, parse_duration  # noqa: PLC0415 - loads the API's models

        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except InvalidDurationError as error:
            self.fail(str(error), param, ctx)


SPAN = _Span()


class _Time(click.ParamType[datetime]):
    """A time in UTC, from a time with a zone or a duration from now."""

    name = "time"

    @override
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        from upwell.policy.images.schedule import InvalidDurationError, parse_duration  # noqa: PLC0415 - loads the API's models

        if isinstance(value, datetime):
            return value
        with contextlib.suppress(InvalidDurationError):  # then it is a time
            return (clock.now() + parse_duration(value)).replace(microsecond=0)
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is neither a time (2026-12-24T08:00+01:00) nor a duration (8h)", param
            )
        if found.tzinfo is None:
            self.fail(f"{value!r} has no time zone: append Z or +01:00", param)
        return found.astimezone(UTC)


TIME = _Time()


@asynccontextmanager
async def within(seconds: float, state: str) -> AsyncIterator[None]:
    """Limit a block to `seconds`, 0 for no limit; raises CommandError with `state`."""
    try:
        async with asyncio.timeout(seconds or None):
            yield
    except TimeoutError:
        raise CommandError(f"{state} after {seconds:g} s", Exit.TIMEOUT) from None
