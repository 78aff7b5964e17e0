"""Checks of the data folder; pure."""

from collections.abc import Iterator
from datetime import timedelta

from upwell.policy.hardening.findings import Flaw, FlawSeverity, HardeningCheck
from upwell.policy.hardening.installation import FileMode, FolderState

_OTHERS = 0o077
_ADMIN_TOKEN_AGE = timedelta(days=90)
_ROOT = 0


def open_file(file: FileMode, owner: int) -> Iterator[Flaw]:
    """Yield what lets others than its owner, who is expected to be `owner` or root, open a file."""
    if file.mode & _OTHERS:
        reason = f"its mode is {file.mode:o}: others than its owner may open it"
        remedy = f"chmod go= {file.path}, and replace what others may have read"
        yield Flaw(FlawSeverity.FAIL, file.path, reason, remedy)
    if file.owner not in {owner, _ROOT}:
        reason = f"it belongs to user {file.owner}, and the data folder to user {owner}"
        yield Flaw(FlawSeverity.FAIL, file.path, reason, f"chown {owner} {file.path}")


def _folder_mode(state: FolderState) -> Iterator[Flaw]:
    yield from open_file(state.folder, state.folder.owner)


def _secret_modes(state: FolderState) -> Iterator[Flaw]:
    for file in state.secrets:
        yield from open_file(file, state.folder.owner)


def _admin_token_age(state: FolderState) -> Iterator[Flaw]:
    age = state.admin_token_age
    if age is not None and age > _ADMIN_TOKEN_AGE:
        yield Flaw(
            FlawSeverity.WARN,
            f"{state.folder.path}/admin.token",
            f"it is {age.days} days old, and may do everything",
            "upwell token rotate --admin",
        )


def _admin_over_tcp(state: FolderState) -> Iterator[Flaw]:
    for use in state.admin_uses:
        yield Flaw(
            FlawSeverity.WARN,
            f"{state.folder.path}/admin.token",
            f"{use.source} used it over the network, last at {use.time}",
            "let it use a token of its own (`upwell token create`, `upwell kubeconfig`), then"
            " `upwell token rotate --admin`",
        )


FOLDER_CHECKS: tuple[HardeningCheck[FolderState], ...] = (
    HardeningCheck("data-folder-mode", "only its owner may enter the data folder", _folder_mode),
    HardeningCheck("private-files", "only its owner may open secrets in it", _secret_modes),
    HardeningCheck("admin-token-age", "admin.token is younger than 90 days", _admin_token_age),
    HardeningCheck(
        "admin-over-tcp", "audit.log has no use of admin.token over the network", _admin_over_tcp
    ),
)
"""Checks that need no server."""
