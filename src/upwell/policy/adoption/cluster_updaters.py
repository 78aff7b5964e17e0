"""Rules by which other updaters of a cluster set images, and the same in a stream's words.

Keel (keel.sh/docs, policies), Argo CD Image Updater (argocd-image-updater.readthedocs.io, images
and update strategies), and Flux' image policies (fluxcd.io/flux/components/image, v1beta2).
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.images.selection import InvalidSelectionError, TagSelection
from upwell.policy.images.versions import Version

KEEL, ARGO, FLUX = "Keel", "Argo CD Image Updater", "Flux"
_KEEL = "keel.sh/"
_ARGO = "argocd-image-updater.argoproj.io/"
_ANY = "pattern:.*"
_MOST_IMAGES = 100
"""Entries of one annotation that are read."""


@dataclass(frozen=True, slots=True)
class UpdaterRule:
    """Rule of an updater about one repository."""

    updater: str
    selection: str = ""
    """Tags that may take the place of the present one, as the tag's annotation says it."""
    notes: tuple[str, ...] = ()
    off: str = ""
    """Mark to be removed, by which the updater sets the image."""


def keel_rule(
    labels: Mapping[str, str], annotations: Mapping[str, str], tag: str
) -> UpdaterRule | None:
    """Return what Keel's labels and annotations of a workload ask for; None: nothing."""
    said = {key: value for key, value in {**labels, **annotations}.items() if key.startswith(_KEEL)}
    policy = said.get(f"{_KEEL}policy", "")
    if not policy or policy == "never":
        return None
    notes = [
        f"{key} has no effect: {instead}" for key, instead in _KEEL_INSTEAD.items() if key in said
    ]
    matches = said.get(f"{_KEEL}match-tag", "").lower() == "true"
    selection = ""
    if policy == "force":
        if not matches:
            notes.append(
                "the tag that the image names is followed, and no other tag that is pushed"
            )
    elif policy.startswith("glob:"):
        glob = fnmatch.translate(policy.removeprefix("glob:"))
        selection = f"pattern:^{glob.removesuffix(r'\Z').removesuffix(r'\z')}$"
    elif policy.startswith("regexp:"):
        selection = f"pattern:{policy.removeprefix('regexp:')}"
    else:
        selection, notes_of_version = _of_version(policy, tag)
        notes += notes_of_version
    return _checked(UpdaterRule(KEEL, selection, tuple(notes), f"keel.sh/policy={policy}"))


def has_keel_marks_alone(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool:
    """Return True for marks of Keel's without the policy by which it would do anything."""
    marks = [key for key in (*labels, *annotations) if key.startswith(_KEEL)]
    return bool(marks) and f"{_KEEL}policy" not in marks


_KEEL_INSTEAD = {
    "keel.sh/approvals": "`approval` of a Pipeline's stage takes its place",
    "keel.sh/pollSchedule": "annotation upwell.dev/import-interval of the stream's tag does that",
    "keel.sh/notify": "a Subscription takes its place",
}


def _of_version(policy: str, tag: str) -> tuple[str, Sequence[str]]:
    """Return the range of a policy from the present tag on, or none, and why there is none."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", tag)
    if found is None or Version.parse(tag) is None:
        why = f"policy {policy} needs a tag that is a version, and {tag or 'latest'} is none"
        return "", (why,)
    major, minor, patch = map(int, found.groups())
    ends = {
        "patch": f" <{major}.{minor + 1}.0",
        "minor": f" <{major + 1}.0.0",
        "major": "",
        "all": "",
    }
    if policy not in ends:
        return "", (f"policy {policy[:100]!r} is none of Keel's",)
    return f"semver:>={major}.{minor}.{patch}{ends[policy]}", ()


def argo_rules(annotations: Mapping[str, str]) -> Iterator[tuple[str, UpdaterRule]]:
    """Yield the rules of an Argo CD Application, each with the repository that it is about."""
    for entry in argo_images(annotations):
        alias, equals, image = entry.rpartition("=")
        image, constraint = _constrained(image)
        repository = _repository(image)
        if not repository:
            continue
        own = f"{_ARGO}{alias}." if equals else _ARGO
        strategy = annotations.get(f"{own}update-strategy", "semver")
        allowed = annotations.get(f"{own}allow-tags", "").removeprefix("regexp:").strip()
        notes: list[str] = []
        selection = ""
        match strategy:
            case "semver":
                selection = f"semver:{constraint or '>=0.0.0'}"
            case "digest":
                pass
            case "newest-build" | "latest":
                selection = f"newest:{allowed or '.*'}"
                notes.append("of the tags, the one with the latest date in its name is followed")
            case "alphabetical" | "name":
                selection = f"pattern:{allowed}" if allowed else _ANY
            case _:
                notes.append(f"update strategy {strategy[:100]!r} is none that is known")
        off = f"{_ARGO}image-list of the Application"
        yield repository, _checked(UpdaterRule(ARGO, selection, tuple(notes), off))


def argo_images(annotations: Mapping[str, str]) -> Sequence[str]:
    """Return the entries of an Application's list of images: `[ALIAS=]IMAGE[:CONSTRAINT]`."""
    listed = annotations.get(f"{_ARGO}image-list", "").split(",")[:_MOST_IMAGES]
    return [entry.strip() for entry in listed if entry.strip()]


def names_no_image(entry: str) -> bool:
    """Return True for an entry of that list that no rule can be made of."""
    return not _repository(_constrained(entry.rpartition("=")[2])[0])


def _constrained(image: str) -> tuple[str, str]:
    """Split `IMAGE[:CONSTRAINT]`; a colon before a slash is that of a port."""
    head, slash, tail = image.rpartition("/")
    name, _, constraint = tail.partition(":")
    return f"{head}{slash}{name}", constraint


def flux_rules(
    policies: Iterable[Mapping[str, Any]], repositories: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, UpdaterRule]]:
    """Yield the rules of Flux' ImagePolicies, each with the repository that it is about."""
    images = flux_images(repositories)
    for one in policies:
        spec, (namespace, name) = mapping_in(one, "spec"), place_of(one)
        repository = _repository(images.get(flux_repository(one), ""))
        if not repository:
            continue
        policy, pattern = mapping_in(spec, "policy"), mapping_in(spec, "filterTags").get("pattern")
        notes: list[str] = []
        if range_ := mapping_in(policy, "semver").get("range"):
            selection = f"semver:{range_}"
            if pattern:
                notes.append("filterTags has no effect beside a range")
        else:
            selection = f"pattern:{pattern}" if pattern else _ANY
            notes.append("of the tags, the last in natural order is followed")
        off = f"ImagePolicy {namespace}/{name}"
        yield repository, _checked(UpdaterRule(FLUX, selection, tuple(notes), off))


def flux_images(repositories: Iterable[Mapping[str, Any]]) -> Mapping[tuple[str, str], str]:
    """Return the images of Flux' ImageRepositories, by their namespaces and names."""
    return {place_of(one): str(mapping_in(one, "spec").get("image") or "") for one in repositories}


def flux_repository(policy: Mapping[str, Any]) -> tuple[str, str]:
    """Return namespace and name of the ImageRepository of one of Flux' ImagePolicies."""
    named = mapping_in(mapping_in(policy, "spec"), "imageRepositoryRef")
    return str(named.get("namespace") or place_of(policy)[0]), str(named.get("name") or "")


def _checked(rule: UpdaterRule) -> UpdaterRule:
    """Return the rule, without a selection that cannot be followed."""
    try:
        if rule.selection:
            TagSelection(rule.selection)
    except InvalidSelectionError as error:
        why = f"its tags cannot be selected so: {error}"
        return UpdaterRule(rule.updater, "", (*rule.notes, why), rule.off)
    return rule


def _repository(image: str) -> str:
    """Return `registry/repository` in its one spelling; empty for what is no image."""
    try:
        found = Reference.parse(image)
    except InvalidReferenceError:
        return ""
    return f"{found.registry}/{found.repository}"


def place_of(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return namespace and name of an object that others wrote."""
    meta = mapping_in(document, "metadata")
    return str(meta.get("namespace") or ""), str(meta.get("name") or "")


def mapping_in(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a mapping of an object that others wrote; an empty one for what is none."""
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}
