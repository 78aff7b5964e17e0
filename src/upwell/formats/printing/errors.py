"""Errors of templates."""


class PrintingError(ValueError):
    """A template cannot be understood, or does not fit the data; the message says where."""

    def __init__(self, template: str, at: int, why: str) -> None:
        shown = template if len(template) <= _SHOWN else f"…{template[max(0, at - _SHOWN // 2) :]}"
        super().__init__(f"{why}, at character {at + 1} of {shown[:_SHOWN]!r}")


_SHOWN = 80
