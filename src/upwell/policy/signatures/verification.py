"""Verification of one image by one policy, from the signatures that were found; pure.

All that is looked at was written by strangers until a key of the policy has verified it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from upwell.api.image_policies.policy import (
    AttestationRequirement,
    ImagePolicySpec,
    MatchPolicy,
    SignedIdentity,
)
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.formats.sigstore import (
    NO_PROOF,
    InTotoStatement,
    SignedBy,
    SignedContent,
    SignedEnvelope,
    SigningProof,
    TrustRoot,
    UntrustedSignatureError,
    claim_of,
    statement_of,
)
from upwell.formats.sigstore.statement import COSIGN_SIGNATURE
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.registry_names import canonical_name
from upwell.policy.signatures.roots import InvalidRootError, root_of_trust
from upwell.policy.signatures.scopes import JudgedImage

_MAX_NAMES = 3
"""Wrong names that a message quotes."""


class VerdictReason(StrEnum):
    """Reason of a verdict."""

    VERIFIED = "Verified"
    NOT_SIGNED = "NotSigned"
    NOT_TRUSTED = "NotTrusted"
    """It is signed, by nobody whom the policy trusts."""
    OTHER_IDENTITY = "OtherIdentity"
    """It is signed as an image of another name."""
    NOT_ATTESTED = "NotAttested"
    ATTESTATION_DIFFERS = "AttestationDiffers"
    UNSUPPORTED = "PolicyUnsupported"
    UNKNOWN = "NotChecked"
    """Its registry could not be asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict of a policy about an image."""

    reason: VerdictReason
    message: str = ""
    """Reason why it does not pass; the signer, where it does and a certificate says."""

    @property
    def passed(self) -> bool:
        """True if the image satisfies the policy."""
        return self.reason is VerdictReason.VERIFIED


@dataclass(frozen=True, slots=True)
class ImageSignature:
    """A signature as it was found: what was signed, and by what."""

    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Proof of the signature, as cosign writes it."""


@dataclass(frozen=True, slots=True)
class ImageAttestation:
    """An attestation as it was found."""

    envelope: SignedEnvelope
    proof: SigningProof = NO_PROOF
    raw: bytes = field(default=b"", repr=False)
    """The envelope, where it is a document of its own."""


@dataclass(frozen=True, slots=True)
class ImageEvidence:
    """Signatures and attestations that lie beside an image; none of them is verified."""

    signatures: Sequence[ImageSignature] = ()
    attestations: Sequence[ImageAttestation] = ()

    def __add__(self, other: "ImageEvidence") -> "ImageEvidence":
        return ImageEvidence(
            (*self.signatures, *other.signatures), (*self.attestations, *other.attestations)
        )


VERIFIED = Verdict(VerdictReason.VERIFIED)


def verify(
    spec: ImagePolicySpec, image: JudgedImage, evidence: ImageEvidence, now: datetime
) -> Verdict:
    """Say whether an image satisfies a policy."""
    try:
        root = root_of_trust(spec.policy.root_of_trust, now)
    except InvalidRootError as error:
        where = f"spec.policy.rootOfTrust.{error.field}"
        return Verdict(VerdictReason.UNSUPPORTED, f"{where}: {error.why}")
    identity = spec.policy.signed_identity or SignedIdentity()
    signed = _signed(root, identity, image, evidence.signatures)
    asked = asked_predicates(spec)
    if not asked:
        return signed
    found = list(_statements(root, image, evidence.attestations))
    if not signed.passed and COSIGN_SIGNATURE in asked:
        signed = _signed_by_digest(found) or signed
    if not signed.passed:
        return signed
    statements = [statement for _, statement in found]
    for wanted in spec.attestations:
        verdict = _attested(wanted, statements)
        if not verdict.passed:
            return verdict
    return signed


def asked_predicates(spec: ImagePolicySpec) -> frozenset[str]:
    """Return the predicate types of the attestations that a policy needs to see."""
    identity = spec.policy.signed_identity or SignedIdentity()
    signatures = [COSIGN_SIGNATURE] if identity.match_policy == MatchPolicy.DIGEST else []
    return frozenset([*(one.predicate_type for one in spec.attestations), *signatures])


def _signed_by_digest(statements: Iterable[tuple[SignedBy, InTotoStatement]]) -> Verdict | None:
    """Return that somebody trusted has signed the digest alone; None: nobody has."""
    for signer, statement in statements:
        if statement.predicate_type == COSIGN_SIGNATURE:
            return Verdict(VerdictReason.VERIFIED, str(signer))
    return None


def _signed(
    root: TrustRoot,
    identity: SignedIdentity,
    image: JudgedImage,
    signatures: Sequence[ImageSignature],
) -> Verdict:
    """Say whether somebody trusted has signed the image, under a name that is its own."""
    if not signatures:
        return Verdict(VerdictReason.NOT_SIGNED, "it has no signature")
    others: list[str] = []
    faults: list[str] = []
    for one in signatures:
        content = SignedContent.of_payload(one.payload, one.signature)
        try:
            signer = root.signer(content, SigningProof.of_annotations(one.annotations))
        except UntrustedSignatureError as error:
            faults.append(str(error))
            continue
        claim = claim_of(one.payload)
        if claim is None or claim.image != image.digest:
            faults.append("its signature is of another image")
        elif identity.match_policy == MatchPolicy.DIGEST or _is_own(
            claim.repository, identity, image
        ):
            return Verdict(VerdictReason.VERIFIED, str(signer))
        else:
            others.append(claim.repository)
    if not others:
        why = "; ".join(list(dict.fromkeys(faults))[:_MAX_NAMES])
        return Verdict(VerdictReason.NOT_TRUSTED, why)
    names = ", ".join(list(dict.fromkeys(others))[:_MAX_NAMES])
    why = f"it is signed as {names}: signedIdentity says which other name may stand for it"
    return Verdict(VerdictReason.OTHER_IDENTITY, why)


def _statements(
    root: TrustRoot, image: JudgedImage, attestations: Iterable[ImageAttestation]
) -> Iterator[tuple[SignedBy, InTotoStatement]]:
    """Yield what somebody trusted attests of an image, and who."""
    for one in attestations:
        try:
            signer = root.signer(SignedContent.of_envelope(one.envelope, one.raw), one.proof)
        except UntrustedSignatureError:
            continue
        statement = statement_of(one.envelope, image.digest)
        if statement is not None:
            yield signer, statement


def _is_own(stated: str, identity: SignedIdentity, image: JudgedImage) -> bool:
    """Return True if the name that a signature states may be that of the image."""
    try:
        found = _name(stated)
    except InvalidReferenceError:
        return False
    match identity.match_policy:
        case MatchPolicy.REPO_DIGEST_OR_EXACT | MatchPolicy.REPOSITORY:
            return found in image.names
        case MatchPolicy.EXACT_REPOSITORY if identity.exact_repository is not None:
            try:
                return found == _name(identity.exact_repository.repository)
            except InvalidReferenceError:
                return False
        case MatchPolicy.REMAP_IDENTITY if identity.remap_identity is not None:
            prefix, signed = identity.remap_identity.prefix, identity.remap_identity.signed_prefix
            prefix, signed = canonical_name(prefix), canonical_name(signed)
            return found in {_remapped(name, prefix, signed) for name in image.names}
        case _:
            return False


def _name(text: str) -> str:
    """Return the name in a reference as images have it; raises InvalidReferenceError."""
    return canonical_name(Reference.parse(text).name)


def _remapped(name: str, prefix: str, signed: str) -> str:
    """Return a name with its prefix, which ends where a part of it does, replaced."""
    if name == prefix or name.startswith(f"{prefix}/"):
        return signed + name.removeprefix(prefix)
    return name


def _attested(wanted: AttestationRequirement, statements: Sequence[InTotoStatement]) -> Verdict:
    """Say whether one of the statements is what a policy asks for."""
    mine = [one for one in statements if one.predicate_type == wanted.predicate_type]
    if not mine:
        why = f"nobody whom the policy trusts has attested {wanted.predicate_type}"
        return Verdict(VerdictReason.NOT_ATTESTED, why)
    faults = [_difference(wanted, one.predicate) for one in mine]
    if "" in faults:
        return VERIFIED
    return Verdict(
        VerdictReason.ATTESTATION_DIFFERS,
        f"its attestation {wanted.predicate_type} {faults[0]}",
    )


def _difference(wanted: AttestationRequirement, predicate: Mapping[str, Any]) -> str:
    """Say what a predicate has otherwise, as what follows "it"; empty: it is as wanted."""
    builder = _at(predicate, "runDetails", "builder", "id") or _at(predicate, "builder", "id")
    if wanted.builder and not _matches_one([wanted.builder], builder):
        return f"names the builder {_quoted(builder)}, which {wanted.builder!r} does not match"
    if wanted.sources:
        sources = list(_sources(predicate))
        if not sources or not all(_matches_one(wanted.sources, one) for one in sources):
            named = ", ".join(map(_quoted, sources[:_MAX_NAMES])) or "none"
            return f"names other sources than the policy allows: {named}"
    result = predicate.get("result")
    if wanted.result and result != wanted.result:
        return f"has the result {_quoted(result)}, not {wanted.result!r}"
    if wanted.configurations:
        tested = list(_configurations(predicate))
        if not any(_matches_one(wanted.configurations, one) for one in tested):
            named = ", ".join(map(_quoted, tested[:_MAX_NAMES])) or "none"
            return f"is of other tests than the policy asks for: {named}"
    return ""


def _configurations(predicate: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the configurations that a test result is about."""
    found = predicate.get("configuration")
    for one in found if isinstance(found, list) else ():
        name = _at(one, "name")
        if isinstance(name, str):
            yield name


def _sources(predicate: Mapping[str, Any]) -> Iterator[str]:
    """Yield the URIs of the sources that a provenance names (SLSA v1, v0.2), without revisions."""
    definition = _object(predicate.get("buildDefinition"))
    parameters = _object(definition.get("externalParameters"))
    found = [
        _at(parameters, "source", "uri"),
        _at(parameters, "source"),
        _at(parameters, "workflow", "repository"),
        _at(predicate, "invocation", "configSource", "uri"),
    ]
    dependencies = definition.get("resolvedDependencies")
    found += [
        _at(one, "uri")
        for one in (dependencies if isinstance(dependencies, list) else ())
        if _at(one, "digest", "gitCommit") is not None
    ]
    plain = [_plain_uri(one) for one in found if isinstance(one, str) and one]
    yield from dict.fromkeys((*plain, *_beside_git(definition)))


def _beside_git(definition: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a build of this server is made of besides commits: it is source as well."""
    parameters = _object(definition.get("externalParameters"))
    strategy = _object(parameters.get("strategy"))
    if _at(parameters, "source", "dockerfile"):
        yield "dockerfile:inline"
    scripts = _at(strategy, "sourceStrategy", "scripts")
    if isinstance(scripts, str) and scripts:
        yield _plain_uri(scripts)
    if strategy.get("customStrategy") is not None:
        yield "builder:custom"
    dependencies = definition.get("resolvedDependencies")
    for one in dependencies if isinstance(dependencies, list) else ():
        if _at(one, "name") == "upload" and _at(one, "uri") is None:
            yield "upload:"


def _plain_uri(uri: str) -> str:
    """Return a URI without what SPDX puts around it: `git+` before, `@revision` behind.

    It names the place that a client reaches by it, as dots in a path lead elsewhere.
    """
    scheme, separator, rest = uri.removeprefix("git+").partition("://")
    if not separator:
        host, colon, path = uri.partition(":")
        return f"{host}{colon}{_without_dots(path)}"
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority}{slash}{_without_dots(path.partition('@')[0])}"


def _without_dots(path: str) -> str:
    """Return a path without the segments `.` and `..` (RFC 3986, 5.2.4), escaped ones too."""
    kept: list[str] = []
    for segment in path.split("/"):
        dots = segment.lower().replace("%2e", ".")
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(segment)
    return "/".join(kept)


def _at(value: object, *steps: str) -> object:
    """Return what stands at a path of JSON data; None: nothing."""
    for step in steps:
        value = _object(value).get(step)
    return value


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _matches_one(patterns: Iterable[str], value: object) -> bool:
    """Return True if the whole of a text matches one of the expressions."""
    for pattern in patterns:
        try:
            if isinstance(value, str) and RegularExpression(pattern).fullmatch(value):
                return True
        except InvalidExpressionError:
            continue
    return False


def _quoted(value: object) -> str:
    """Return a stranger's text for a message."""
    return repr(value[:200]) if isinstance(value, str) else "none"
