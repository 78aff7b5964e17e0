"""Words of a choice that were probably meant."""

import re
from difflib import get_close_matches

import click

_REFUSED = re.compile(r"'(?P<given>[^']*)' is not one of (?P<known>.*)", re.DOTALL)


def with_meant_word(error: click.BadParameter) -> click.BadParameter:
    """Return an error about a word of a choice with the one that is like it, if any is."""
    refused = _REFUSED.fullmatch(error.message)
    if refused is None:
        return error
    known = [word.strip("'. ") for word in refused["known"].split(",")]
    near = get_close_matches(refused["given"], known, n=1)
    if not near:
        return error
    message = f"{error.message.removesuffix('.')}; did you mean {near[0]}?"
    return click.BadParameter(message, error.ctx, error.param, error.param_hint)
