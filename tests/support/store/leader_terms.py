"""Terms of leaders that end when a test says so."""

from dataclasses import dataclass

from upwell.store.interface import UnavailableError


@dataclass
class Term:
    """A fence that stands until it is over."""

    over: bool = False

    def require(self) -> None:
        """Raise UnavailableError once the term is over."""
        if self.over:
            raise UnavailableError("over")
