"""The table [waves] of the configuration file: how changes of base images go on."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from upwell.api.waves.wave import WaveApproval
from upwell.policy.waves.approval import ApprovalRules
from upwell.policy.waves.budget import RolloutBudget
from upwell.policy.waves.canary import CanaryRules
from upwell.policy.waves.progress import WaveRules
from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, Duration

_SHARE = re.compile(r"(100|[0-9]{1,2})%")


def _share(value: Any) -> str:
    if isinstance(value, str) and (value == "0" or _SHARE.fullmatch(value)):
        return value
    raise ValueError("not a share")


_Share = Annotated[
    str, BeforeValidator(_share), AllowedValues("a percentage such as 5%, or 0", blank=True)
]


_Budget = Annotated[int, Field(ge=0), AllowedValues("a whole number, 0 or more")]


class WaveSettings(SettingsTable):
    """Changes of base images, and what follows them (docs/waves.md)."""

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
    canary: _Share = "0"
    """The share of a Wave's workloads that go first, one at the least; 0: none waits for others."""
    canary_for: Duration = timedelta(minutes=5)
    """The time for which the first have to be healthy until the others follow."""
    stop_at: _Share = "0"
    """The share of what a Wave has reached that may fail, of three failures or more, until it is
    stopped and its image put into quarantine; 0: it is not stopped."""

    rollouts: _Budget = 0
    """The most rollouts that image change triggers have under way at once; 0: as many as come."""
    rollouts_per_namespace: _Budget = 0
    """The most of these in one namespace; 0: as many as come."""
    rollouts_per_stage: _Budget = 0
    """The most rollouts of promotions that nobody has asked for, under way at once into stages of
    one name, over all Pipelines; 0: as many as come."""

    @property
    def rules(self) -> WaveRules:
        """The rules that every Wave goes by."""
        canary = CanaryRules(_fraction(self.canary), self.canary_for)
        approvals = ApprovalRules(self.approval is WaveApproval.MANUAL, self.manual_images)
        return WaveRules(canary, approvals, _fraction(self.stop_at))

    @property
    def budget(self) -> RolloutBudget:
        """The rollouts of image change triggers that may be under way at once."""
        return RolloutBudget(self.rollouts, self.rollouts_per_namespace)


def _fraction(share: str) -> float:
    return int(share.removesuffix("%")) / 100
