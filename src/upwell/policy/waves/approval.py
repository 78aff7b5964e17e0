"""Approval of changes: which of them need one, and what waits until it is given."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from upwell.api.waves.wave import WaveApproval


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """Rules of the administrator for changes of imported images."""

    all_images: bool = False
    patterns: tuple[str, ...] = ()
    """Images by the names of their registries; `*` is any text."""

    def of(self, image: str) -> WaveApproval:
        """Return the approval that changes of an image need."""
        manual = self.all_images or any(fnmatchcase(image, one) for one in self.patterns)
        return WaveApproval.MANUAL if manual else WaveApproval.AUTO


NO_APPROVALS = ApprovalRules()
"""Rules by which no change needs an approval."""
