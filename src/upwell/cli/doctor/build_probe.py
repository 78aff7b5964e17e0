"""Probe of `upwell doctor --on kubernetes`: the least privilege with which Pods can build."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from upwell.app.builds.probe import (
    PRIVILEGES,
    PROBE_SECONDS,
    UnusableImageError,
    probe_pod,
    probe_state,
)
from upwell.cli.core.errors import CommandError
from upwell.cli.install.kubectl import KubectlRunner
from upwell.machine.checks import HostCheck, HostCheckStatus

_NAME = "build Pods"
_PAUSE_SECONDS = 1.0
_SLACK_SECONDS = 30.0
_LOG_LINES = 4
_MOST_WHY = 300


@dataclass(frozen=True, slots=True)
class BuildProbe:
    """Pods that try to build, one after the other, and are removed."""

    image: str
    """Upwell's own."""
    namespace: str
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def check(self, kubectl: KubectlRunner) -> HostCheck:
        """Return the least privilege that is enough, and why a lesser one is not."""
        if self._is_nowhere(kubectl):
            detail = f"namespace {self.namespace} is not there"
            remedy = "create it, or name another one with --probe-namespace"
            return HostCheck(_NAME, HostCheckStatus.FAIL, detail, remedy)
        refused: list[str] = []
        for privilege in PRIVILEGES:
            try:
                why = self._try(kubectl, privilege)
            except UnusableImageError as error:
                detail = f"the nodes do not get {self.image}: {error}"
                return HostCheck(_NAME, HostCheckStatus.FAIL, detail, "name an image they pull")
            if not why:
                return _enough(privilege, refused)
            refused.append(f"{privilege}: {why[:_MOST_WHY]}")
        remedy = (
            "let the nodes make user namespaces (user.max_user_namespaces), or leave builds out"
        )
        return HostCheck(_NAME, HostCheckStatus.FAIL, "; ".join(refused), remedy)

    def _is_nowhere(self, kubectl: KubectlRunner) -> bool:
        """Return True if the namespace is known not to be there: not all may look at them."""
        with suppress(CommandError):
            return not kubectl.items("namespace", self.namespace)
        return False

    def _try(self, kubectl: KubectlRunner, privilege: str) -> str:
        """Return why no Pod of this privilege builds; empty: it does."""
        pod = probe_pod(self.image, self.namespace, privilege)
        name = str(pod["metadata"]["name"])
        try:
            kubectl.ask("create", "-f", "-", given=json.dumps(pod))
            return self._end(kubectl, name)
        except CommandError as error:
            return str(error)
        finally:
            kubectl.ask(
                *("delete", "pod", name, "-n", self.namespace),
                *("--ignore-not-found", "--wait=false", "--grace-period=1"),
            )

    def _end(self, kubectl: KubectlRunner, name: str) -> str:
        deadline = self.clock() + PROBE_SECONDS + _SLACK_SECONDS
        waits_for = ""
        while self.clock() < deadline:
            told = kubectl.ask("get", "pod", name, "-n", self.namespace, "-o", "json")
            state = probe_state(json.loads(told))
            if state.has_ended:
                return state.why and self._with_log(kubectl, name, state.why)
            waits_for = f": {state.why}" if state.why else ""
            self.pause(_PAUSE_SECONDS)
        return f"it has not ended in {PROBE_SECONDS} s{waits_for}"

    def _with_log(self, kubectl: KubectlRunner, name: str, why: str) -> str:
        """Return a failure with the end of the log, which has what the container runtime said."""
        with suppress(CommandError):
            why += " " + kubectl.ask("logs", name, "-n", self.namespace, f"--tail={_LOG_LINES}")
        return " ".join(why.split())


def _enough(privilege: str, refused: list[str]) -> HostCheck:
    if not refused:
        return HostCheck(_NAME, HostCheckStatus.OK, f"{privilege} is enough")
    detail = f"{privilege} is the least that is enough ({'; '.join(refused)})"
    remedy = f'[kubernetes.builds] privilege = "{privilege}"'
    return HostCheck(_NAME, HostCheckStatus.WARN, detail, remedy)
