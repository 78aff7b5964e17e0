"""The whole hardening list, in the order in which a person would mend things; pure."""

from collections.abc import Iterator

from upwell.policy.hardening.findings import Finding, FlawSeverity, findings
from upwell.policy.hardening.folder import FOLDER_CHECKS
from upwell.policy.hardening.installation import FolderState, ServerState
from upwell.policy.hardening.objects import OBJECT_CHECKS
from upwell.policy.hardening.settings import SETTINGS_CHECKS

SERVER = "server"
_SERVER_CHECKS = (*SETTINGS_CHECKS, *OBJECT_CHECKS)

NAMES = (
    *(check.name for check in FOLDER_CHECKS),
    SERVER,
    *(check.name for check in _SERVER_CHECKS),
)
"""Names of all checks."""


def judge_folder(state: FolderState) -> Iterator[Finding]:
    """Judge a data folder."""
    return findings(FOLDER_CHECKS, state)


def judge_server(state: ServerState) -> Iterator[Finding]:
    """Judge a server that runs."""
    yield Finding(SERVER, FlawSeverity.OK, "", f"process {state.settings.process} answers")
    yield from findings(_SERVER_CHECKS, state)


def not_judged(folder: str, reason: str) -> Finding:
    """Return what stands in place of the checks that need a server."""
    names = ", ".join(check.name for check in _SERVER_CHECKS)
    remedy = f"run it as the server's user beside the running server; not looked at: {names}"
    return Finding(SERVER, FlawSeverity.FAIL, folder, reason, remedy)
