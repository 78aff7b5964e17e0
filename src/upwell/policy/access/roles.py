"""Authorization: roles, what each allows, and what is missing when something is denied; pure.

A token has grants, each a role in some namespaces. Roles are fixed: a table that fits on a page can
be checked by reading it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from upwell.api.kept import KEPT
from upwell.api.validation.labels import is_label
from upwell.oci.copies import is_public_view
from upwell.oci.replica_contents import is_replica_content

EVERYWHERE = "*"
"""In a grant: every namespace, and what lies in none."""
SYSTEM_NAMESPACE = "upwell-system"
"""Holds the tokens: who may write here may give themselves every right, so no grant names it, and
of those for every namespace an admin's alone reaches it with more than a look."""
MIRROR_NAMESPACE = "upstream"
"""The embedded registry's copies of upstream images. Every token may pull one by its
digest that needed no login at its source; who has a role here has them all, and sees which there
are."""
REPOSITORIES = "repositories"
"""The resource of the embedded registry's content; its verbs are pull and push."""
_ALL = frozenset({EVERYWHERE})
_FORM = "ROLE@NAMESPACE[,NAMESPACE…]"
COMPONENTS = "clusteroperators"
"""States of the server's components; `/readyz` tells them to those without a token too."""

SELF_REVIEWS = frozenset(
    {"selfsubjectreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews"}
)
"""Questions about oneself; every token may ask them."""
REVIEWS_OF_OTHERS = frozenset({"tokenreviews", "subjectaccessreviews"})
PLANS = "impactplans"
"""Plans of changes, each answered by what the client may read."""
BASE_SEARCHES = "basesearches"
"""Questions of what an image stands on, answered in the same way."""
QUESTIONS = SELF_REVIEWS | REVIEWS_OF_OTHERS | {PLANS, BASE_SEARCHES}
"""Resources that change nothing when they are created."""

_ANSWERED_BY_RIGHTS = frozenset(
    {
        ("list", "projects"),
        ("watch", "projects"),
        ("list", "projectrequests"),
        ("list", "runningworkloads"),
        ("create", "projectrequests"),
    }
)
"""Requests that every token may send: they are answered by its rights in each namespace."""
_READ = frozenset({"get", "list", "watch"})
_WRITE = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_ACT = frozenset({"create", "update", "patch", "get"})
_HARMLESS = _READ | {"pull"}
_STATUS = "status"


class Role(StrEnum):
    """Role that a grant gives in its namespaces."""

    VIEWER = "viewer"
    SECRET_USER = "secret-user"  # noqa: S105 - a role, not a password
    """Has builds, workloads and checks use Secrets, and reads none."""
    CLUSTER_USER = "cluster-user"
    """Has Pipelines set workloads of other clusters; of all namespaces alone, as a Cluster lies in
    none."""
    BUILDER = "builder"
    DEPLOYER = "deployer"
    PROMOTER = "promoter"
    CI = "ci"
    """An outside CI: starts builds, promotes, and gives verdicts; approves nothing."""
    PIPELINE_EDITOR = "pipeline-editor"
    """Writes Pipelines, and promotes nothing."""
    APPROVER = "approver"
    """Votes on promotions, and rejects Releases."""
    OVERRIDER = "overrider"
    """Answers for what goes past a gate: emergencies, rollbacks, lifted rejections, self-approval;
    each with its reason in the audit log."""
    AUTH_DELEGATOR = "auth-delegator"
    """Asks whose tokens are, and what people may do: of programs that others sign in to."""
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on resources, or on one part of them; `*` stands for all."""

    verbs: frozenset[str]
    resources: frozenset[str]
    parts: frozenset[str] = frozenset({""})
    """Subresources; the empty one is the object itself."""

    def covers(self, action: "Action") -> bool:
        """Return True if the rule allows the action."""
        return all(
            wanted in allowed or EVERYWHERE in allowed
            for wanted, allowed in (
                (action.verb, self.verbs),
                (action.resource, self.resources),
                (action.part, self.parts),
            )
        )


@dataclass(frozen=True, slots=True)
class Action:
    """Action that a request is about to do. `namespace` is empty for all and for none of them.

    A Namespace lies in itself: who has a role in it may do with it what the role allows.
    """

    verb: str
    resource: str
    """The plural: `builds`."""
    namespace: str = ""
    name: str = ""
    part: str = ""
    """The subresource: `log`."""

    def __str__(self) -> str:
        what = f"{self.resource}/{self.part}" if self.part else self.resource
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {what} {where}"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in namespaces."""

    role: Role
    namespaces: frozenset[str]

    def reaches(self, namespace: str) -> bool:
        """Return True if the grant holds in `namespace`."""
        if EVERYWHERE in self.namespaces:
            return True
        return namespace in self.namespaces and namespace != SYSTEM_NAMESPACE


class InvalidGrantError(ValueError):
    """The text of a grant is not ROLE@NAMESPACE."""


def parse_grant(text: str) -> Grant:
    """Return the grant that `ROLE@NAMESPACE[,NAMESPACE…]` means; raises InvalidGrantError.

    A place that can be no namespace is refused: `builder@shop,viewer@bank` are two grants.
    """
    grant = _stored_grant(text)
    for place in sorted(grant.namespaces - _ALL):
        if not is_label(place):
            message = f"{text!r}: {place!r} is no namespace; write each grant by itself, as {_FORM}"
            raise InvalidGrantError(message)
    return grant


def _stored_grant(text: str) -> Grant:
    """Return the grant of a text that was taken once, whatever it calls a namespace."""
    role, _, places = text.partition("@")
    namespaces = frozenset(place.strip() for place in places.split(","))
    if role not in set(Role) or "" in namespaces:
        roles = ", ".join(Role)
        raise InvalidGrantError(f"{text!r} is not ROLE@NAMESPACE, where a role is one of {roles}")
    if SYSTEM_NAMESPACE in namespaces:
        message = f"{SYSTEM_NAMESPACE} holds the tokens: only {Role.ADMIN}@{EVERYWHERE} has it"
        raise InvalidGrantError(message)
    return Grant(Role(role), namespaces)


def grant_text(grant: Grant) -> str:
    """Return the text that `parse_grant` reads."""
    return f"{grant.role}@{','.join(sorted(grant.namespaces))}"


def parse_grants(text: str) -> tuple[Grant, ...]:
    """Return the grants that a token was given, one a line; raises InvalidGrantError."""
    return tuple(_stored_grant(line.strip()) for line in text.splitlines() if line.strip())


def _rule(verbs: frozenset[str], resources: str, parts: str = "") -> Rule:
    return Rule(verbs, frozenset(resources.split()), frozenset(parts.split() or {""}))


_KEPT = " ".join(kind.KIND.plural for kind in KEPT)
"""Kinds without an effect: who deploys a folder that has them may write them."""
_WORKLOADS = "deployments deploymentconfigs statefulsets daemonsets cronjobs jobs"
_VIEW = (
    _rule(
        _READ,
        f"{_WORKLOADS} pods replicasets replicationcontrollers namespaces projects resourcequotas"
        " endpoints endpointslices limitranges configmaps services networkpolicies"
        " serviceaccounts events routes templates"
        " imagestreams imagestreamtags imagestreamimages images buildconfigs builds"
        " pipelines releases promotions freezes quarantines waves clusters subscriptions metrics"
        " runningworkloads"
        " imagepolicies clusterimagepolicies persistentvolumeclaims ingresses"
        f" {_KEPT}"
        f" {COMPONENTS}",
    ),
    _rule(frozenset({"get"}), EVERYWHERE, "log status scale instances packages layers evidence"),
    _rule(frozenset({"pull"}), REPOSITORIES),
    _rule(frozenset({"create"}), f"{PLANS} {BASE_SEARCHES}"),
)
_REVIEW_IMAGES = _rule(frozenset({"create"}), "imagepolicyreviews")
"""The right to have the server look at an image, with the logins of the namespace."""
_USE_SECRETS = _rule(frozenset({"use"}), "secrets")
"""The right to name a Secret in what the server carries out."""
_USE_ACCOUNTS = _rule(frozenset({"use"}), "serviceaccounts")
"""The right to name a ServiceAccount that something runs as."""

RULES: Mapping[Role, tuple[Rule, ...]] = {
    Role.VIEWER: _VIEW,
    Role.SECRET_USER: (*_VIEW, _USE_SECRETS),
    Role.CLUSTER_USER: (_rule(frozenset({"use"}), "clusters"),),
    Role.BUILDER: (
        *_VIEW,
        _rule(
            _WRITE,
            "buildconfigs builds imagestreams imagestreamtags imagestreamimports"
            " imagestreammappings",
        ),
        _rule(_ACT, "buildconfigs builds", "instantiate instantiatebinary clone details"),
        _rule(frozenset({"push"}), REPOSITORIES),
        _REVIEW_IMAGES,
        _USE_SECRETS,
        _USE_ACCOUNTS,
    ),
    Role.DEPLOYER: (
        *_VIEW,
        _rule(
            _WRITE,
            f"{_WORKLOADS} pods configmaps services networkpolicies routes ingresses"
            f" serviceaccounts persistentvolumeclaims templates {_KEPT}",
        ),
        _rule(frozenset({"create"}), "serviceaccounts", "token"),
        _rule(frozenset({"create"}), "processedtemplates"),
        _rule(
            _ACT,
            f"{_WORKLOADS} pods",
            "scale rollback rollout instantiate exec attach eviction portforward",
        ),
        _rule(frozenset({"update", "patch"}), "replicationcontrollers"),
        _REVIEW_IMAGES,
        _USE_SECRETS,
        _USE_ACCOUNTS,
    ),
    Role.PROMOTER: (
        *_VIEW,
        _rule(_WRITE, "pipelines releases promotions freezes quarantines subscriptions"),
        _rule(frozenset({"update", "patch"}), "waves"),
        _rule(_ACT, "waves", "approve cancel retry"),
        _rule(_ACT, "imagestreams", "approve"),
        _rule(_ACT, "subscriptions", "test replay deadletters"),
        _rule(
            _ACT,
            "pipelines releases promotions",
            "approve reject restore verify promote rollback evidence",
        ),
        _REVIEW_IMAGES,
        _USE_SECRETS,
        _USE_ACCOUNTS,
    ),
    Role.CI: (
        *_VIEW,
        _rule(_ACT, "buildconfigs builds", "instantiate instantiatebinary clone"),
        _rule(_ACT, "pipelines releases", "evidence promote verify"),
    ),
    Role.PIPELINE_EDITOR: (*_VIEW, _rule(_WRITE, "pipelines"), _USE_SECRETS, _USE_ACCOUNTS),
    Role.APPROVER: (
        *_VIEW,
        _rule(_ACT, "promotions releases", "approve reject"),
        _rule(_ACT, "waves imagestreams", "approve"),
    ),
    Role.OVERRIDER: (
        *_VIEW,
        _rule(_ACT, "releases promotions pipelines", "override restore rollback"),
        _rule(frozenset({"delete"}), "freezes quarantines"),
        _rule(_ACT, "waves imagestreams", "approve override"),
    ),
    Role.AUTH_DELEGATOR: (Rule(frozenset({"create"}), REVIEWS_OF_OTHERS),),
    Role.ADMIN: (Rule(_ALL, _ALL, _ALL),),
}
"""Secrets are an admin's alone."""


def allows(role: Role, action: Action) -> bool:
    """Return True if `role` allows the action in a namespace that it holds in."""
    return any(rule.covers(action) for rule in RULES[role])


def is_allowed(grants: Iterable[Grant], action: Action) -> bool:
    """Return True if one of the grants allows the action."""
    grants = tuple(grants)
    if not grants:
        return False
    return _is_shared(action) or is_granted(grants, action)


def is_granted(grants: Iterable[Grant], action: Action) -> bool:
    """Return True if a role allows the action: not because every token may do it."""
    return any(grant.reaches(action.namespace) and _is_within(grant, action) for grant in grants)


def _is_within(grant: Grant, action: Action) -> bool:
    """Return True if the role allows the action; two kinds of changes are an admin's alone.

    Every namespace is not that of the tokens: whoever may write there may give themselves every
    right. And reconcilers write the status: of several namespaces' objects, it says whose a host,
    an address or an image is, so that it is left to the admin of all. So are repositories that are
    the server's own.
    """
    if is_replica_content(action.namespace):
        return grant.role is Role.ADMIN and EVERYWHERE in grant.namespaces
    if action.verb not in _HARMLESS:
        if action.namespace == SYSTEM_NAMESPACE:
            return grant.role is Role.ADMIN
        if action.part == _STATUS:
            return grant.role is Role.ADMIN and EVERYWHERE in grant.namespaces
    return allows(grant.role, action)


def rules_in(grants: Iterable[Grant], namespace: str) -> list[Rule]:
    """Return each rule that one of the grants brings in a namespace; empty: in all of them."""
    roles = dict.fromkeys(grant.role for grant in grants if grant.reaches(namespace))
    return list(dict.fromkeys(rule for role in roles for rule in RULES[role]))


def missing(action: Action) -> str:
    """Return what a token needs for the action: the least of the roles that allow it, and where."""
    needed = next((role for role in Role if allows(role, action)), Role.ADMIN)
    is_shared = action.part == _STATUS and action.verb not in _HARMLESS
    if not action.namespace or action.namespace == SYSTEM_NAMESPACE or is_shared:
        return f"needs role {needed} in all namespaces"
    return f"needs role {needed} there"


def _is_shared(action: Action) -> bool:
    """Return True if every token may do it.

    It may ask about itself, see and ask for its namespaces, ask for images by their digests, and
    see whether the server is well.
    """
    if action.verb == "create" and action.resource in SELF_REVIEWS:
        return True
    if action.verb in _READ and action.resource == COMPONENTS:
        return True
    if (action.verb, action.resource) in _ANSWERED_BY_RIGHTS:
        return True
    if action.verb == "get" and action.resource == "images" and action.name:
        return True  # answered by what is public, and by the streams that it may read
    is_public = action.namespace == MIRROR_NAMESPACE and is_public_view(action.name)
    return action.verb == "pull" and is_public
