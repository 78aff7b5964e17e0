"""The error of a wrong configuration."""


class SettingsError(Exception):
    """The configuration is wrong; `faults` has the reasons, each with its option or key.

    `source` is the file, if it is one; `more` counts faults that are not named.
    """

    def __init__(self, *faults: str, source: str = "", more: int = 0) -> None:
        super().__init__(_message(faults, source, more))
        self.faults = faults


def _message(faults: tuple[str, ...], source: str, more: int) -> str:
    where = [source] if source else []
    if len(faults) == 1:
        return ": ".join([*where, *faults])
    head = ": ".join([*where, f"{len(faults) + more} settings are wrong"])
    tail = [f"and {more} more"] if more else []
    return "\n  ".join([head, *faults, *tail])
