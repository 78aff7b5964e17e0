"""The namespace of tokens on a cluster: an installation makes it, and takes over no other's."""

from upwell.cli.core.errors import CommandError
from upwell.cli.install.installation import NAME, PART_OF
from upwell.cli.install.kubectl import KubectlRunner
from upwell.policy.access.roles import SYSTEM_NAMESPACE

_INSIDE = ("secrets", "rolebindings")
_OWN_SECRET = "kubernetes.io/service-account-token"  # noqa: S105 - a type, not a secret


def refuse_foreign_system_namespace(kubectl: KubectlRunner, *, is_installed: bool) -> None:
    """Raise CommandError if somebody else has made the namespace of tokens, or put something there.

    Who made it, or may write there, may have written a token that opens all. `is_installed` is
    True where an installation is there already, which only an administrator could have made.
    """
    found = kubectl.items("namespace", SYSTEM_NAMESPACE)
    if not found:
        return
    labels = found[0]["metadata"].get("labels") or {}
    if labels.get(PART_OF) != NAME:
        raise CommandError(
            f"namespace {SYSTEM_NAMESPACE} is there, and no installation has made it: {_advice()}"
        )
    if is_installed:
        return
    for kind in _INSIDE:
        names = [
            one["metadata"]["name"]
            for one in kubectl.items(kind, "-n", SYSTEM_NAMESPACE)
            if one.get("type") != _OWN_SECRET
        ]
        if names:
            raise CommandError(
                f"namespace {SYSTEM_NAMESPACE} has {kind} of before this installation"
                f" ({', '.join(names[:5])}): {_advice()}"
            )


def _advice() -> str:
    return (
        "a token there opens all of Upwell. Nothing was changed; look at it (`kubectl -n"
        f" {SYSTEM_NAMESPACE} get {','.join(_INSIDE)}`), and delete it, or say"
        " --take-system-namespace if all of it is yours"
    )
