"""Steps of `upwell setup` on machines of all kinds, and its unit."""

from dataclasses import replace

import pytest

from upwell.policy.setup.steps import (
    MachineFacts,
    SetupAction,
    SetupFiles,
    SetupRefusedError,
    setup_steps,
    undo_steps,
)
from upwell.policy.setup.unit import service_unit

UNIT = service_unit("/usr/bin/upwell", "/var/lib/upwell", "/etc/upwell/upwell.toml")
FILES = SetupFiles("/var/lib/upwell", "/etc/upwell/upwell.toml", "# ours\n", "/etc/unit", UNIT)
FRESH = MachineFacts(missing_packages=("podman", "haproxy"))
DONE = MachineFacts(
    has_data=True, configuration="# ours\n", unit=UNIT, is_enabled=True, is_active=True
)


def actions(facts: MachineFacts) -> list[SetupAction]:
    return [step.action for step in setup_steps(facts, FILES)]


def undone(facts: MachineFacts, *, data: bool = False) -> list[SetupAction]:
    return [step.action for step in undo_steps(facts, FILES, data=data)]


def test_a_fresh_machine_gets_everything_in_order() -> None:
    assert [str(step) for step in setup_steps(FRESH, FILES)] == [
        "install packages: podman haproxy",
        "make the data folder: /var/lib/upwell",
        "write the configuration file: /etc/upwell/upwell.toml",
        "write the unit: /etc/unit",
        "start the service, now and at boot: upwell.service",
    ]


def test_a_machine_that_is_set_up_needs_nothing() -> None:
    assert actions(DONE) == []
    assert actions(replace(DONE, configuration="their = true")) == []


def test_what_is_missing_alone_is_done() -> None:
    start = [SetupAction.ENABLE_SERVICE]
    assert actions(replace(DONE, is_active=False)) == start
    assert actions(replace(DONE, is_enabled=False)) == start


def test_a_unit_of_an_earlier_version_is_replaced_and_somebody_elses_is_not() -> None:
    earlier = UNIT.replace("WatchdogSec=60s", "")
    assert actions(replace(DONE, unit=earlier)) == [
        SetupAction.WRITE_UNIT,
        SetupAction.ENABLE_SERVICE,
    ]
    assert actions(replace(DONE, unit="[Unit]\n")) == []
    assert actions(replace(DONE, unit=None, has_packaged_unit=True)) == []
    assert actions(replace(DONE, unit=None)) == [SetupAction.WRITE_UNIT, SetupAction.ENABLE_SERVICE]


def test_without_systemd_no_unit_is_written() -> None:
    found = actions(replace(FRESH, has_systemd=False))
    assert found == [
        SetupAction.INSTALL_PACKAGES,
        SetupAction.MAKE_DATA_FOLDER,
        SetupAction.WRITE_CONFIGURATION,
    ]


def test_missing_packages_that_nothing_can_install_are_named() -> None:
    with pytest.raises(SetupRefusedError, match=r"podman haproxy.*`upwell doctor`"):
        setup_steps(replace(FRESH, has_apt=False), FILES)
    assert setup_steps(replace(DONE, has_apt=False), FILES) == []


def test_undoing_removes_what_was_set_up_and_keeps_the_data() -> None:
    assert undone(DONE) == [
        SetupAction.STOP_SERVICE,
        SetupAction.REMOVE_UNIT,
        SetupAction.REMOVE_WORKLOADS,
        SetupAction.REMOVE_CONFIGURATION,
    ]
    assert undone(DONE, data=True) == [*undone(DONE), SetupAction.REMOVE_DATA]


def test_undoing_leaves_what_somebody_has_changed() -> None:
    theirs = replace(DONE, unit="[Unit]\n", configuration="their = true", has_systemd=False)
    assert undone(theirs) == [SetupAction.REMOVE_WORKLOADS]
    packaged = replace(DONE, unit=None, has_packaged_unit=True)
    assert undone(packaged) == [SetupAction.STOP_SERVICE, SetupAction.REMOVE_WORKLOADS]
    assert undone(MachineFacts()) == []
    assert undone(MachineFacts(), data=True) == []


def test_paths_of_the_unit_are_words_as_systemd_reads_them() -> None:
    unit = service_unit("/opt/my programs/up", "/srv/50%/$x", "/etc/upwell.toml")
    assert 'ExecStart="/opt/my programs/up" serve --data-dir /srv/50%%/$$x\n' in unit
