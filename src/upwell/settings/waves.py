"""The table [waves] of the configuration file: how changes of base images go on."""

from typing import Annotated

from pydantic import Field

from upwell.api.waves.wave import WaveApproval
from upwell.policy.waves.approval import ApprovalRules
from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues


class WaveSettings(SettingsTable):
    """Changes of base images, and what follows them."""

    approval: Annotated[
        WaveApproval,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(WaveApproval)}"),
    ] = WaveApproval.AUTO
    """Approval of changes of imported images: with manual, nothing is built on a new image before
    somebody has approved its Wave."""
    manual_images: Annotated[
        tuple[
            Annotated[str, Field(min_length=1), AllowedValues("an image, in which * is any text")],
            ...,
        ],
        Field(strict=False),
        AllowedValues("a list of images, in which * is any text"),
    ] = ()
    """Images whose changes need an approval though others do not, such as
    `docker.io/library/debian:*`."""

    @property
    def approvals(self) -> ApprovalRules:
        """Return which changes need an approval."""
        return ApprovalRules(self.approval is WaveApproval.MANUAL, self.manual_images)
