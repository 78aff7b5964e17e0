"""Steps of `upwell setup` and of its undoing, from what is found on a machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from upwell.policy.setup.unit import MARK, UNIT_NAME


class SetupAction(StrEnum):
    """Changes that are made to a machine."""

    INSTALL_PACKAGES = "install packages"
    MAKE_DATA_FOLDER = "make the data folder"
    WRITE_CONFIGURATION = "write the configuration file"
    WRITE_UNIT = "write the unit"
    ENABLE_SERVICE = "start the service, now and at boot"
    STOP_SERVICE = "stop the service, and no longer start it at boot"
    REMOVE_UNIT = "remove the unit"
    REMOVE_WORKLOADS = "remove what runs: containers, networks, the router, filters"
    REMOVE_CONFIGURATION = "remove the configuration file"
    REMOVE_DATA = "remove the data folder: objects, images, volumes, keys"


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One change, and what it is about."""

    action: SetupAction
    object: str = ""

    def __str__(self) -> str:
        return f"{self.action}: {self.object}" if self.object else str(self.action)


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Facts of a machine that decide what is to be done."""

    missing_packages: tuple[str, ...] = ()
    has_apt: bool = True
    has_systemd: bool = True
    """True if systemd is the machine's process 1."""
    has_data: bool = False
    """True if the data folder is there."""
    configuration: str | None = None
    """Content of the configuration file; None: there is none."""
    unit: str | None = None
    """Content of the unit in /etc; None: there is none."""
    has_packaged_unit: bool = False
    """True if a package brought a unit."""
    is_enabled: bool = False
    is_active: bool = False


@dataclass(frozen=True, slots=True)
class SetupFiles:
    """Files as they shall be, and their places."""

    data_dir: str
    configuration_path: str
    configuration: str
    unit_path: str
    unit: str


class SetupRefusedError(Exception):
    """The machine cannot be set up; the message says why and what to do."""


def setup_steps(facts: MachineFacts, files: SetupFiles) -> Sequence[SetupStep]:
    """Return what is left to do, in order; nothing on a machine that is set up.

    Raises SetupRefusedError where packages are missing that nothing here can install.
    """
    if facts.missing_packages and not facts.has_apt:
        raise SetupRefusedError(
            "these packages are missing, and there is no apt-get to install them:"
            f" {' '.join(facts.missing_packages)}; install them, or what has the same programs"
            " (`upwell doctor` names these), and call `upwell setup` again"
        )
    return list(_steps(facts, files))


def _steps(facts: MachineFacts, files: SetupFiles) -> Iterator[SetupStep]:
    if facts.missing_packages:
        yield SetupStep(SetupAction.INSTALL_PACKAGES, " ".join(facts.missing_packages))
    if not facts.has_data:
        yield SetupStep(SetupAction.MAKE_DATA_FOLDER, files.data_dir)
    if facts.configuration is None:
        yield SetupStep(SetupAction.WRITE_CONFIGURATION, files.configuration_path)
    if not facts.has_systemd:
        return
    is_new = _is_ours(facts.unit) and facts.unit != files.unit
    if is_new or (facts.unit is None and not facts.has_packaged_unit):
        yield SetupStep(SetupAction.WRITE_UNIT, files.unit_path)
        is_new = True
    if is_new or not (facts.is_enabled and facts.is_active):
        yield SetupStep(SetupAction.ENABLE_SERVICE, UNIT_NAME)


def undo_steps(facts: MachineFacts, files: SetupFiles, *, data: bool) -> Sequence[SetupStep]:
    """Return what removes what was set up; `data`: the data folder, too.

    Packages stay: other programs may use them by now.
    """
    return list(_undo(facts, files, data=data))


def _undo(facts: MachineFacts, files: SetupFiles, *, data: bool) -> Iterator[SetupStep]:
    if facts.has_systemd and (facts.is_active or facts.is_enabled):
        yield SetupStep(SetupAction.STOP_SERVICE, UNIT_NAME)
    if _is_ours(facts.unit):
        yield SetupStep(SetupAction.REMOVE_UNIT, files.unit_path)
    if facts.has_data:
        yield SetupStep(SetupAction.REMOVE_WORKLOADS, files.data_dir)
    # What somebody has changed is theirs, and what a package brought goes with that.
    if facts.configuration == files.configuration and not facts.has_packaged_unit:
        yield SetupStep(SetupAction.REMOVE_CONFIGURATION, files.configuration_path)
    if data and facts.has_data:
        yield SetupStep(SetupAction.REMOVE_DATA, files.data_dir)


def _is_ours(unit: str | None) -> bool:
    return unit is not None and unit.startswith(MARK)
