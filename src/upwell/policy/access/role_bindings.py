"""Meaning of Kubernetes' and OpenShift's RoleBindings: the grants that say the same; pure.

A RoleBinding gives nothing by itself: nobody gets rights from a folder that is applied. Whoever
applies one is told what does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from upwell.api.core import GRANTS_ANNOTATION
from upwell.api.kept import Kept
from upwell.policy.access.roles import EVERYWHERE, Role
from upwell.policy.access.service_accounts import parse_account

_ROLES: Mapping[str, tuple[Role, ...]] = {
    "view": (Role.VIEWER,),
    "edit": (Role.BUILDER, Role.DEPLOYER),
    "admin": (Role.ADMIN,),
    "cluster-admin": (Role.ADMIN,),
    "cluster-reader": (Role.VIEWER,),
    "registry-viewer": (Role.VIEWER,),
    "registry-editor": (Role.BUILDER,),
    "system:image-puller": (Role.VIEWER,),
    "system:image-pusher": (Role.BUILDER,),
    "system:image-builder": (Role.BUILDER,),
    "system:deployer": (Role.DEPLOYER,),
    "system:auth-delegator": (Role.AUTH_DELEGATOR,),
}
"""Roles that do what these ClusterRoles are for."""
_BINDINGS = {"RoleBinding", "ClusterRoleBinding"}
_MAX_SHOWN = 3


def binding_advice(binding: Kept) -> str:
    """Return the grants that say what a binding says; empty where none do."""
    if binding.KIND.kind not in _BINDINGS:
        return ""
    extra = binding.model_extra or {}
    referred = extra.get("roleRef")
    name = referred.get("name") if isinstance(referred, dict) else None
    roles = _ROLES.get(name, ()) if isinstance(name, str) else ()
    place = binding.namespace or EVERYWHERE
    grants = " ".join(f"{role}@{place}" for role in roles)
    if not grants:
        return ""
    accounts = list(dict.fromkeys(_accounts(extra, binding.namespace)))[:_MAX_SHOWN]
    if not accounts:
        return f"{name} is `--grant {grants.replace(' ', ' --grant ')}` of `upwell token create`"
    whose = ", ".join(f"{namespace}/{account}" for namespace, account in accounts)
    return f'annotate ServiceAccount {whose} with {GRANTS_ANNOTATION}="{grants}"'


def _accounts(extra: Mapping[str, Any], namespace: str) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of the ServiceAccounts that a binding is about."""
    subjects = extra.get("subjects")
    for subject in subjects if isinstance(subjects, list) else ():
        if isinstance(subject, dict) and subject.get("kind") == "ServiceAccount":
            yield str(subject.get("namespace") or namespace), str(subject.get("name") or "")
    users = extra.get("userNames")
    for user in users if isinstance(users, list) else ():
        if isinstance(user, str) and (account := parse_account(user)) is not None:
            yield account
