"""The error of a wrong configuration."""


class SettingsError(Exception):
    """The configuration is wrong; `faults` has every reason, each with its option or key.

    `source` is the file, if it is one.
    """

    def __init__(self, *faults: str, source: str = "") -> None:
        super().__init__(_message(faults, source))
        self.faults = faults


def _message(faults: tuple[str, ...], source: str) -> str:
    where = [source] if source else []
    if len(faults) == 1:
        return ": ".join([*where, *faults])
    return "\n  ".join([": ".join([*where, f"{len(faults)} settings are wrong"]), *faults])
