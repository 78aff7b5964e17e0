"""Times that users give: `90s`, `5m`, `1h30m`, `0` for no limit."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, override

import click

from upwell.cli.errors import CommandError, Exit

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
            self.fail(f"{text!r} is no duration such as 90s, 5m or 1h30m", param, ctx)
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)


TIMEOUT = _Duration()


@asynccontextmanager
async def within(seconds: float, state: str) -> AsyncIterator[None]:
    """Limit a block to this time, 0 being no limit; raises CommandError naming `state`."""
    try:
        async with asyncio.timeout(seconds or None):
            yield
    except TimeoutError:
        raise CommandError(f"{state} after {seconds:g} s", Exit.TIMEOUT) from None
