"""Every field of securityContext is honoured or is a fault with its path."""

from typing import Any

import pytest

from upwell.api.values.security_context import ContainerSecurity, PodSecurity, VolumeGroup


def faults(container: dict[str, Any], pod: dict[str, Any] | None = None) -> dict[str, str]:
    read = PodSecurity.parse(pod, "pod")
    _, wrong = read.container(container, "web")
    return {fault.path: fault.message for fault in (*read.faults, *wrong)}


def held(container: dict[str, Any], pod: dict[str, Any] | None = None) -> ContainerSecurity:
    assert faults(container, pod) == {}
    return PodSecurity.parse(pod, "pod").container(container, "web")[0]


def test_nothing_said_is_the_default() -> None:
    assert held({}) == ContainerSecurity()
    assert PodSecurity.parse(None, "pod").container(None, "web")[0] == ContainerSecurity()


def test_a_container_says_more_than_its_pod() -> None:
    pod = {
        "runAsUser": 1000,
        "runAsGroup": 2000,
        "runAsNonRoot": True,
        "supplementalGroups": [5, 6],
        "fsGroup": 7,
        "seccompProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"level": "s0:c1"},
        "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
    }
    own = {"runAsUser": 1001, "runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}}
    made = held(own, pod)

    assert (made.user, made.group, made.non_root, made.seccomp) == (1001, 2000, False, "")
    assert made.groups == (5, 6, 7)
    assert made.selinux == ("level:s0:c1",)
    assert made.sysctls == (("net.ipv4.tcp_syncookies", "1"),)
    assert held({}, pod).seccomp == "unconfined"
    assert PodSecurity.parse(pod, "pod").volumes == VolumeGroup(7)


def test_every_field_of_a_container_is_read() -> None:
    made = held(
        {
            "capabilities": {"add": ["CAP_NET_RAW", "sys_time"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": True,
            "procMount": "Unmasked",
            "appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"},
        }
    )

    assert (made.add, made.drop) == (("NET_RAW", "SYS_TIME"), ("ALL",))
    assert made.read_only_root
    assert made.new_privileges
    assert made.unmasked
    assert made.apparmor == "mine"
    assert held({"privileged": True}).privileged
    assert not held({"allowPrivilegeEscalation": False}).new_privileges


def test_a_number_may_be_a_text_as_templates_leave_it() -> None:
    assert held({"runAsUser": "1001"}).user == 1001


@pytest.mark.parametrize(
    ("context", "path"),
    [
        ({"runAsUser": -1}, "web.runAsUser"),
        ({"runAsUser": 2**31}, "web.runAsUser"),
        ({"runAsUser": "9" * 5000}, "web.runAsUser"),
        ({"runAsUser": "root"}, "web.runAsUser"),
        ({"runAsUser": True}, "web.runAsUser"),
        ({"runAsUser": "١٢"}, "web.runAsUser"),
        ({"runAsNonRoot": "yes"}, "web.runAsNonRoot"),
        ({"privileged": 1}, "web.privileged"),
        ({"privileged": True, "allowPrivilegeEscalation": False}, "web.allowPrivilegeEscalation"),
        ({"capabilities": ["ALL"]}, "web.capabilities"),
        ({"capabilities": {"add": "ALL"}}, "web.capabilities.add"),
        ({"capabilities": {"drop": ["a b"]}}, "web.capabilities.drop[0]"),
        ({"seccompProfile": {"type": "None"}}, "web.seccompProfile.type"),
        ({"appArmorProfile": {"type": "Localhost"}}, "web.appArmorProfile.localhostProfile"),
        ({"procMount": "unmasked"}, "web.procMount"),
    ],
)
def test_what_cannot_be_understood_is_malformed(context: dict[str, Any], path: str) -> None:
    [fault] = PodSecurity.parse(None, "pod").container(context, "web")[1]

    assert (fault.path, fault.is_malformed) == (path, True)


@pytest.mark.parametrize(
    ("context", "path"),
    [
        ({"windowsOptions": {"runAsUserName": "x"}}, "web.windowsOptions"),
        ({"seccompProfile": {"type": "Localhost"}}, "web.seccompProfile.type"),
        ({"fsGroup": 1}, "web.fsGroup"),
        ({"readonlyRootFilesystem": True}, "web.readonlyRootFilesystem"),
        ({"capabilities": {"adds": []}}, "web.capabilities.adds"),
        ({"seLinuxOptions": {"label": "x"}}, "web.seLinuxOptions.label"),
    ],
)
def test_what_is_not_done_here_is_named(context: dict[str, Any], path: str) -> None:
    [fault] = PodSecurity.parse(None, "pod").container(context, "web")[1]

    assert (fault.path, fault.is_malformed) == (path, False)


def test_faults_of_a_pod_have_its_path() -> None:
    pod = {"sysctls": [{"name": "a"}], "supplementalGroups": [1, "x"], "privileged": True}

    assert set(faults({}, pod)) == {
        "pod.sysctls[0]",
        "pod.supplementalGroups[1]",
        "pod.privileged",
    }
    assert "pod.supplementalGroupsPolicy" in faults({}, {"supplementalGroupsPolicy": "Strict"})
