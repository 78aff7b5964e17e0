"""kubectl as a child process: it has the user's kubeconfig, contexts, certificates and logins."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.cli.core.errors import CommandError, Exit

_SECONDS = 300.0
_UNREACHABLE = ("connection to the server", "connect to the server", "connection refused")
"""In what kubectl says where it reaches no API server; a webhook may refuse something, too."""
FIELD_MANAGER = "upwell-install"


@dataclass(frozen=True, slots=True)
class KubectlRunner:
    """kubectl on one cluster; raises CommandError for all that it refuses."""

    kubeconfig: Path | None = None
    """None: KUBECONFIG, or the user's own."""
    context: str = ""
    """Empty: the kubeconfig's current one."""

    def ask(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl and return what it printed to stdout."""
        if shutil.which("kubectl") is None:
            raise CommandError(
                "kubectl is not installed: install it (Debian: apt install kubernetes-client),"
                " or print the manifests with --dry-run and apply them elsewhere"
            )
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                input=given,
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            message = f"kubectl {arguments[0]} has not ended in {_SECONDS:.0f} s"
            raise CommandError(message, Exit.TIMEOUT) from error
        if done.returncode != 0:
            unreachable = any(words in done.stderr for words in _UNREACHABLE)
            code = Exit.UNREACHABLE if unreachable else Exit.FAILED
            # It says the same of each object, as often as there are objects.
            said = "\n".join(dict.fromkeys(done.stderr.strip().splitlines()))
            raise CommandError(f"kubectl {arguments[0]}: {said}", code)
        return done.stdout

    def items(self, *arguments: str) -> Sequence[dict[str, Any]]:
        """Return the objects that `kubectl get` finds."""
        found = json.loads(self.ask("get", *arguments, "--ignore-not-found", "-o", "json") or "{}")
        items = found.get("items", [found] if found else [])
        return [one for one in items if isinstance(one, dict)]

    def apply(self, manifests: str, *, dry_run: bool = False, force: bool = False) -> Sequence[str]:
        """Apply manifests on the server's side; return a line for each object.

        With `force`, fields that another manager has written are taken over.
        """
        # Definitions are too large for the annotation of an apply by the client. The server checks
        # what is applied: a check here would first read its schema of all kinds, which it makes
        # anew for each definition, and may not have for minutes.
        options = ["--dry-run=server"] if dry_run else []
        options += ["--force-conflicts"] if force else []
        printed = self.ask(
            *(
                "apply",
                "--server-side",
                f"--field-manager={FIELD_MANAGER}",
                "--validate=false",
                *options,
                "-f",
                "-",
            ),
            given=manifests,
        )
        return printed.splitlines()

    @property
    def _command(self) -> list[str]:
        command = ["kubectl", "--request-timeout=60s"]
        if self.kubeconfig is not None:
            command.append(f"--kubeconfig={self.kubeconfig}")
        if self.context:
            command.append(f"--context={self.context}")
        return command
