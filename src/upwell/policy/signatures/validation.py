"""Faults of image policies: what is not supported is refused with its path, never passed over."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from upwell.api.codec import unknown_fields
from upwell.api.image_policies.policy import (
    AttestationRequirement,
    Enforcement,
    EnforcementMode,
    ImagePolicyResource,
    ImagePolicySpec,
    MatchPolicy,
    PolicyPoint,
    PolicyType,
    RootOfTrust,
    SignedIdentity,
)
from upwell.api.meta import Resource
from upwell.api.values.faults import Fault
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.registry_names import canonical_name
from upwell.policy.signatures.roots import InvalidRootError, root_of_trust
from upwell.policy.signatures.scopes import scope_fault

_MAX_SCOPES = 256
_MAX_ATTESTATIONS = 16
_MAX_SOURCES = 64
_MAX_PATH = 200
_ROOT = "policy.rootOfTrust"
_ANY_TIME = datetime.min.replace(tzinfo=UTC)
"""Time by which nothing is judged."""


def image_policy_faults(resource: Resource) -> Iterator[Fault]:
    """Yield every fault of an image policy; none of any other object."""
    if isinstance(resource, ImagePolicyResource):
        yield from policy_spec_faults(resource.spec, "spec")


def policy_spec_faults(spec: ImagePolicySpec, path: str) -> Iterator[Fault]:
    """Yield every fault of what a policy asks for."""
    if not spec.scopes:
        yield Fault(f"{path}.scopes", 'required: registries, repositories, or "*"')
    if len(spec.scopes) > _MAX_SCOPES:
        yield Fault(f"{path}.scopes", f"more than {_MAX_SCOPES}: write several policies")
    for at, scope in enumerate(spec.scopes[:_MAX_SCOPES]):
        if why := scope_fault(scope):
            yield Fault(f"{path}.scopes[{at}]", why)
    yield from _root(spec.policy.root_of_trust, f"{path}.{_ROOT}")
    if spec.policy.signed_identity is not None:
        yield from _identity(spec.policy.signed_identity, f"{path}.policy.signedIdentity")
    if len(spec.attestations) > _MAX_ATTESTATIONS:
        yield Fault(f"{path}.attestations", f"more than {_MAX_ATTESTATIONS}")
    for at, wanted in enumerate(spec.attestations[:_MAX_ATTESTATIONS]):
        yield from _attestation(wanted, f"{path}.attestations[{at}]")
    yield from _enforcement(spec.enforcement, f"{path}.enforcement")
    for field in unknown_fields(spec, f"{path}."):
        # Elsewhere such a field is kept and warned of; here what it asked for would be passed over.
        yield Fault(field[:_MAX_PATH], "is no field of an image policy: correct or remove it")


def _root(root: RootOfTrust, path: str) -> Iterator[Fault]:
    given = {
        PolicyType.PUBLIC_KEY: ("publicKey", root.public_key),
        PolicyType.FULCIO: ("fulcioCAWithRekor", root.fulcio_ca_with_rekor),
        PolicyType.PKI: ("pki", root.pki),
    }
    for kind, (field, value) in given.items():
        if value is not None and root.policy_type in given and root.policy_type != kind:
            yield Fault(f"{path}.{field}", f"is not of policyType {root.policy_type}: remove it")
    try:
        root_of_trust(root, _ANY_TIME)
    except InvalidRootError as error:
        yield Fault(f"{path}.{error.field}", error.why)


def _identity(identity: SignedIdentity, path: str) -> Iterator[Fault]:
    yield from _one_of(identity.match_policy, MatchPolicy, f"{path}.matchPolicy")
    if identity.match_policy == MatchPolicy.EXACT_REPOSITORY:
        exact = identity.exact_repository
        yield from _repository(exact.repository if exact else "", f"{path}.exactRepository")
    if identity.match_policy == MatchPolicy.REMAP_IDENTITY:
        remap = identity.remap_identity
        for field, value in (
            ("prefix", remap.prefix if remap else ""),
            ("signedPrefix", remap.signed_prefix if remap else ""),
        ):
            if not value:
                yield Fault(f"{path}.remapIdentity.{field}", "required")


def _repository(text: str, path: str) -> Iterator[Fault]:
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError as error:
        yield Fault(f"{path}.repository", error.why)
        return
    if reference.name != canonical_name(text):
        yield Fault(f"{path}.repository", f"expected REGISTRY/REPOSITORY, as {reference.name!r}")


def _attestation(wanted: AttestationRequirement, path: str) -> Iterator[Fault]:
    if not wanted.predicate_type:
        yield Fault(f"{path}.predicateType", "required: the predicate type of in-toto")
    if len(wanted.sources) > _MAX_SOURCES:
        yield Fault(f"{path}.sources", f"more than {_MAX_SOURCES}")
    patterns = {f"{path}.sources[{at}]": one for at, one in enumerate(wanted.sources)}
    stages = wanted.configurations
    if len(stages) > _MAX_SOURCES:
        yield Fault(f"{path}.configurations", f"more than {_MAX_SOURCES}")
    patterns |= {f"{path}.configurations[{at}]": one for at, one in enumerate(stages)}
    if wanted.builder:
        patterns[f"{path}.builder"] = wanted.builder
    for where, pattern in patterns.items():
        try:
            RegularExpression(pattern)
        except InvalidExpressionError as error:
            yield Fault(where, str(error))


def _enforcement(enforcement: Enforcement, path: str) -> Iterator[Fault]:
    yield from _one_of(enforcement.mode, EnforcementMode, f"{path}.mode")
    for at, point in enumerate(enforcement.at):
        yield from _one_of(point, PolicyPoint, f"{path}.at[{at}]")


def _one_of(value: str, known: Collection[str], path: str) -> Iterator[Fault]:
    if value not in set(known):
        yield Fault(path, f"{value!r} is none of {', '.join(known)}")
