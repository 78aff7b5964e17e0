"""Tables of builds in the configuration file."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from upwell.api.values.base_changes import OnBaseChange
from upwell.policy.builds.commits.following import DEFAULT_INTERVAL
from upwell.settings.base import SettingsTable
from upwell.settings.network import Networks
from upwell.settings.values import AllowedValues, Count, Flag, Interval, Size


class BuildNetworkKind(StrEnum):
    """Kind of network that builds have."""

    ISOLATED = "isolated"
    HOST = "host"


class BuildIsolation(SettingsTable):
    """Isolation of builds from this machine."""

    user_namespaces: Flag = True
    """Maps root in a build to an unprivileged id outside, where the machine allows that."""
    network: Annotated[
        BuildNetworkKind,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(BuildNetworkKind)}"),
    ] = BuildNetworkKind.ISOLATED
    """The network of builds: isolated from this machine and from private networks, or the host's,
    with all that this machine reaches and serves."""
    allowed_networks: Networks = ()
    """Private networks that isolated builds may reach, such as that of a package mirror. This
    machine's own addresses stay closed."""
    host_network: Flag = False
    """Lets a BuildConfig ask for the machine's own network."""
    memory_bytes: Size | None = Field(default=None, validation_alias="memory")
    """The limit of a build that states none; without it, three quarters of the machine's memory."""
    processes: Count = 4096
    """The most processes that a build may have at once."""
    namespace_slots: Count | None = None
    """The most builds of one namespace that run at once, within `--build-slots`; without it, one
    namespace may have all slots that no other waits for."""
    on_base_change: Annotated[
        OnBaseChange,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(OnBaseChange)}"),
    ] = OnBaseChange.REBUILD
    """The answer to a change of a base where the BuildConfig has no annotation
    `upwell.dev/on-base-change`: `auto` puts the image on the new base where that is safe, and
    builds it otherwise; `rebase` never builds it, `rebuild` always does; `notify` does neither,
    and says so."""
    commit_interval: Interval = DEFAULT_INTERVAL
    """The time between two looks at the repository of a BuildConfig whose annotation
    `upwell.dev/follow-commits` is `true`; a duration in its place comes first."""
    storage: Size | None = None
    """The most room on the disk that a build may take while it runs; without it, half of the file
    system."""
