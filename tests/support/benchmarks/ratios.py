"""Ratios of benchmarks, kept from run to run: which of them fell behind what was recorded last.

Times and rates differ from machine to machine and from hour to hour; a ratio to a peer, measured in
the same run, differs much less.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

RECORDED = Path(__file__).parents[2] / "benchmarks" / "recorded_ratios.json"
_BEHIND = 2 / 3
_AHEAD = 1 / _BEHIND


@dataclass
class Ratios:
    """Ratios of this run beside those of `file`. All are speeds: a greater one is better."""

    file: Path
    recorded: Mapping[str, float]
    measured: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path = RECORDED) -> Self:
        """Read what was recorded; nothing was where there is no file."""
        return cls(file, json.loads(file.read_text()) if file.exists() else {})

    def note_speed(self, name: str, ratio: float) -> None:
        """Note a ratio that is better the greater it is, as of requests a second."""
        self.measured[name] = ratio

    def note_cost(self, name: str, ratio: float) -> None:
        """Note a ratio that is better the smaller it is, as of seconds."""
        self.measured[name] = 1 / ratio

    @property
    def behind(self) -> list[str]:
        """Names of those that fell by a third or more since they were recorded."""
        return [
            name
            for name, ratio in self.measured.items()
            if name in self.recorded and ratio <= _BEHIND * self.recorded[name]
        ]

    def report(self) -> list[str]:
        """Say of each that fell behind, from what to what."""
        return [
            f"{name}: {self.measured[name]:.3g}, recorded was {self.recorded[name]:.3g}"
            for name in self.behind
        ]

    @property
    def news(self) -> list[str]:
        """Names of those that no run has recorded, or that rose by a half or more since."""
        return [
            name
            for name, ratio in self.measured.items()
            if name not in self.recorded or ratio >= _AHEAD * self.recorded[name]
        ]

    def record(self, *, accept: bool = False) -> None:
        """Write the ratios that are news, or all of this run if that is accepted.

        What differs by less stays as it was recorded: else many small falls would be no fall.
        """
        names = self.measured if accept else self.news
        new = {name: float(f"{self.measured[name]:.3g}") for name in names}
        if new:
            # As the file is now: a run takes long, and another may have recorded its own meanwhile.
            known = type(self).of(self.file).recorded
            text = json.dumps({**known, **new}, indent=2, sort_keys=True)
            self.file.write_text(text + "\n")
