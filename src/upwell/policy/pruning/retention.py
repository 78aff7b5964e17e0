"""Retention: what is kept and what may go, by reachability; pure.

Roots are the images that anything names: instances that run, revisions that can be rolled back to,
templates, Releases, Builds (what they were made of and what they made), BuildConfigs, tags. From
them on everything is kept that they are made of. What is younger than the grace time stays in any
case: it may be about to be named.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from upwell.api.builds.build import Build
from upwell.api.image import Image, ImageStream, TagEvent
from upwell.api.meta import Resource
from upwell.formats.attachment_tags import image_of_tag
from upwell.oci import Digest, InvalidDigestError, Reference
from upwell.oci.copies import store_of
from upwell.oci.index_tags import index_of_tag
from upwell.oci.replica_contents import is_replica_content
from upwell.policy.access.roles import MIRROR_NAMESPACE
from upwell.policy.builds.identity import inputs_tag
from upwell.policy.images.streams import INPUTS_TAG_PREFIX, StreamName
from upwell.policy.pruning.image_uses import Use, reference_of, uses_of
from upwell.policy.pruning.rules import Rules
from upwell.registry.interface import StoredManifest, StoredRepository, StoredTag


@dataclass(frozen=True, slots=True)
class RetentionFacts:
    """Objects and content at one moment. The repositories must be read before the objects."""

    objects: Sequence[Resource]
    repositories: Sequence[StoredRepository]
    host: str
    """The `host:port` in references to the embedded registry."""
    mirror_of: Callable[[Reference], str]
    """The repository that an upstream image is mirrored in."""
    now: datetime
    running: Mapping[Digest, str] = field(default_factory=dict)
    """Images that run -> who runs them, such as `instance web-1`."""
    uses: Sequence[Use] = ()
    """Of what is none of the objects."""


@dataclass(frozen=True, slots=True)
class StaleRevision:
    """A digest that a tag of a stream had."""

    stream: StreamName
    tag: str
    event: TagEvent


@dataclass(frozen=True, slots=True)
class StaleTag:
    """A tag in the registry, while it names this digest."""

    repository: str
    tag: str
    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class StaleManifest:
    """A manifest in a repository; `freed` is what its removal alone makes unneeded, in bytes."""

    repository: str
    digest: Digest
    created: datetime
    freed: int


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """Content that may go, in the order in which it should; and why the rest stays."""

    revisions: tuple[StaleRevision, ...]
    images: tuple[Image, ...]
    tags: tuple[StaleTag, ...]
    manifests: tuple[StaleManifest, ...]
    kept: Mapping[Digest, str]
    """Digest -> what keeps it, for people. It may be of an image that is stored nowhere here."""


def decide(facts: RetentionFacts, rules: Rules) -> RetentionDecision:
    """Say what may go; what replicas of the server share is no image, and cleaned up elsewhere."""
    images = [one for one in facts.repositories if not is_replica_content(one.name)]
    return _Retention(replace(facts, repositories=images), rules).decide()


type _HeldSource = tuple[Reference, str]
"""Image elsewhere that a stored one is a copy of, and who names it, for people."""


class _Retention:
    def __init__(self, facts: RetentionFacts, rules: Rules) -> None:
        self._facts = facts
        self._rules = rules
        self._oldest = facts.now - rules.keep_younger_than
        self._streams = [item for item in facts.objects if isinstance(item, ImageStream)]
        self._builds = [item for item in facts.objects if isinstance(item, Build)]
        self._images = [item for item in facts.objects if isinstance(item, Image)]
        self._stream_names = {StreamName(item.namespace, item.name) for item in self._streams}
        self._recorded = set(_pushed_images(self._images, facts.host))
        self._needed_records = set[Digest]()
        """Images of tags that go: they say that there was a stream until the tag is gone."""
        self._kept: dict[Digest, str] = {}
        self._unclear: dict[str, str] = {}
        """Mirrored repository -> who names an image of it that cannot be told from others."""
        self._named_tags: set[tuple[str, str]] = set()
        self._children = self._read_children()
        self._parts = self._read_parts()

    def decide(self) -> RetentionDecision:
        uses = [*uses_of(self._facts.objects, self._facts.host), *self._facts.uses]
        for digest, runner in self._facts.running.items():
            self._keep(digest, f"{runner} runs it")
        for use in uses:
            if isinstance(use.image, Digest):
                self._keep(use.image, f"named by {use.holder}")
            elif use.image.tag is not None:
                self._named_tags.add((use.image.repository, use.image.tag))
        revisions, of_histories = self._stale_revisions()
        sources = [(use.source, use.holder) for use in uses if use.source is not None]
        sources += of_histories
        self._keep_young()
        tags = tuple(self._stale_tags())
        self._keep_all_that_is_part()
        self._find_unclear(sources)
        images = tuple(self._stale_images())
        signatures = tuple(self._stale_signatures())
        self._keep_all_that_is_part()  # what the kept ones of these tags name, whatever that is
        manifests = tuple(self._stale_manifests())
        return RetentionDecision(revisions, images, (*tags, *signatures), manifests, self._kept)

    def _keep(self, digest: Digest, why: str) -> None:
        self._kept.setdefault(digest, why)

    def _is_young(self, created: datetime | None) -> bool:
        return created is None or created > self._oldest

    def _stale_revisions(self) -> tuple[tuple[StaleRevision, ...], Sequence[_HeldSource]]:
        """Return digests beyond the limit; keep the others, and return their sources too."""
        stale: list[StaleRevision] = []
        sources: list[_HeldSource] = []
        named = frozenset(self._kept)  # a history does not keep what another one lets go
        for stream in self._streams:
            for history in stream.status.tags:
                for at, event in enumerate(history.items):
                    digest = _digest(event.image)
                    beyond = at >= max(self._rules.keep_tag_revisions, 1)
                    if beyond and not self._is_young(event.created) and digest not in named:
                        name = StreamName(stream.namespace, stream.name)
                        stale.append(StaleRevision(name, history.tag, event))
                        continue
                    holder = f"{stream.key}:{history.tag}, revision {len(history.items) - at}"
                    if digest is not None:
                        self._keep(digest, f"named by {holder}")
                    source = reference_of(event.docker_image_reference)
                    if source is not None and source.digest is not None:
                        sources.append((source, holder))
        return tuple(stale), sources

    def _keep_young(self) -> None:
        for repository in self._facts.repositories:
            for manifest in repository.manifests:
                if self._is_young(manifest.created):
                    self._keep(manifest.digest, f"pushed at {manifest.created:%Y-%m-%d %H:%M}Z")
        for image in self._images:
            digest = _digest(image.name)
            if image.docker_image_reference.startswith(f"{self._facts.host}/"):
                continue  # its manifest lies here, and says when it was pushed
            if digest is not None and self._is_young(image.metadata.creation_timestamp):
                self._keep(digest, f"met at {image.metadata.creation_timestamp:%Y-%m-%d %H:%M}Z")

    def _stale_tags(self) -> Iterator[StaleTag]:
        """Yield tags that may go, those of inputs last; what the others name is kept.

        Of what people pushed that goes with its stream alone.
        """
        claimed = {
            inputs_tag(build.status.inputs): build for build in self._builds if build.status.inputs
        }
        results: list[StaleTag] = []
        for repository in self._facts.repositories:
            of_deleted = self._of_deleted_streams(repository)
            inputs = []
            for name, tag in _image_tags(repository):
                index = _mirrored_index(repository, name)
                if index is not None:
                    if index not in self._kept and not self._is_young(tag.created):
                        reason = f"nothing names the index {index.short} that it stands for"
                        yield StaleTag(repository.name, name, tag.digest, reason)
                    else:
                        self._keep(tag.digest, f"part of index {index.short}, which is in use")
                elif _is_inputs_tag(name):
                    inputs.append((name, tag))
                elif name in of_deleted and self._may_go(repository, name, tag):
                    self._needed_records.add(tag.digest)
                    reason = "its ImageStream does not exist any more"
                    yield StaleTag(repository.name, name, tag.digest, reason)
                else:
                    self._keep(tag.digest, f"tag {repository.name}:{name} names it")
            for name, tag in inputs:
                build = claimed.get(name)
                if build is not None:
                    self._keep(tag.digest, f"made of the inputs of {build.key}")
                elif self._is_young(tag.created):
                    self._keep(tag.digest, f"tag {repository.name}:{name} is young")
                else:
                    reason = "no build has these inputs, and nothing names the result"
                    results.append(StaleTag(repository.name, name, tag.digest, reason))
        yield from (tag for tag in results if tag.digest not in self._kept)

    def _stale_signatures(self) -> Iterator[StaleTag]:
        """Yield tags of signatures, attestations and SBOMs whose images go, or are gone.

        Where people push, those of images that lie elsewhere are theirs.
        """
        for repository in self._facts.repositories:
            stored = {manifest.digest for manifest in repository.manifests}
            ours = _is_mirror(repository) or any(map(_is_inputs_tag, repository.tags))
            for name, tag in repository.tags.items():
                image = image_of_tag(name)
                if image is None:
                    continue
                if image in self._kept or self._is_young(tag.created):
                    self._keep(tag.digest, f"tag {repository.name}:{name} names it")
                elif ours or image in stored:
                    reason = f"nothing names the image {image.short} that it is about"
                    yield StaleTag(repository.name, name, tag.digest, reason)
                else:
                    self._keep(tag.digest, f"tag {repository.name}:{name} names it")

    def _of_deleted_streams(self, repository: StoredRepository) -> frozenset[str]:
        """Return the tags of a repository whose ImageStream does not exist any more.

        That there was one is said by builds, which push to streams alone, or by the Image of what
        was pushed. Without either, the database may be of a time before the push.
        """
        namespace, _, name = repository.name.partition("/")
        if "/" in name or StreamName(namespace, name) in self._stream_names:
            return frozenset()
        tags = repository.tags.items()
        if any(map(_is_inputs_tag, repository.tags)):
            return frozenset(tag for tag, _ in tags)
        return frozenset(tag for tag, at in tags if (repository.name, at.digest) in self._recorded)

    def _may_go(self, repository: StoredRepository, name: str, tag: StoredTag) -> bool:
        if self._is_young(tag.created):
            return False
        return (repository.name, name) not in self._named_tags and tag.digest not in self._kept

    def _read_children(self) -> Mapping[Digest, frozenset[Digest]]:
        """Return the manifests of each index that is known."""
        children = defaultdict[Digest, set[Digest]](set)
        for repository in self._facts.repositories:
            for manifest in repository.manifests:
                children[manifest.digest] |= manifest.children
            for name, tag in repository.tags.items():
                index = _mirrored_index(repository, name)
                if index is not None:
                    children[index].add(tag.digest)
        for image in self._images:
            digest = _digest(image.name)
            found = (_digest(entry.digest) for entry in image.docker_image_manifests)
            if digest is not None:
                children[digest] |= {child for child in found if child is not None}
        return {digest: frozenset(found) for digest, found in children.items()}

    def _read_parts(self) -> Mapping[Digest, frozenset[Digest]]:
        """Return what comes with an image: an index's manifests, and what refers to it."""
        parts = defaultdict[Digest, set[Digest]](set)
        for digest, children in self._children.items():
            parts[digest] |= children
        for repository in self._facts.repositories:
            for manifest in repository.manifests:
                if manifest.subject is not None:
                    parts[manifest.subject].add(manifest.digest)
            for name, tag in repository.tags.items():
                image = image_of_tag(name)
                if image is not None:
                    parts[image].add(tag.digest)
        return {digest: frozenset(found) for digest, found in parts.items()}

    def _keep_all_that_is_part(self) -> None:
        waiting = list(self._kept)
        while waiting:
            digest = waiting.pop()
            for part in self._parts.get(digest, ()):
                if part not in self._kept:
                    self._kept[part] = f"part of {digest.short}, which is {self._kept[digest]}"
                    waiting.append(part)

    def _find_unclear(self, sources: Iterable[_HeldSource]) -> None:
        """Note the mirrors of named indexes whose manifests nobody has recorded.

        A mirror holds one platform's manifest under its own digest; without the index it cannot be
        told which.
        """
        stored = {
            manifest.digest
            for repository in self._facts.repositories
            for manifest in repository.manifests
        }
        for source, holder in sources:
            digest = source.digest
            if digest is None or source.registry == self._facts.host:
                continue
            if digest not in stored and not self._children.get(digest):
                self._unclear.setdefault(self._facts.mirror_of(source), holder)

    def _stale_images(self) -> Iterator[Image]:
        stays = self._kept.keys() | self._needed_records
        return (image for image in self._images if _digest(image.name) not in stays)

    def _stale_manifests(self) -> Iterator[StaleManifest]:
        stale: list[tuple[StoredRepository, StoredManifest]] = []
        needed = set[Digest]()
        for repository in self._facts.repositories:
            whole = self._keeps_whole(repository)
            for manifest in repository.manifests:
                if whole:
                    self._keep(manifest.digest, whole)
                if manifest.digest in self._kept:
                    needed.update(manifest.blobs)
                else:
                    stale.append((repository, manifest))
        # An index goes before what it names, so that no stored index ever lacks a manifest.
        for repository, manifest in sorted(stale, key=lambda item: not item[1].children):
            unneeded = manifest.blobs.keys() - needed
            needed |= unneeded  # shared by two that go, they are counted once
            freed = manifest.size + sum(manifest.blobs[digest] for digest in unneeded)
            yield StaleManifest(repository.name, manifest.digest, manifest.created, freed)

    def _keeps_whole(self, repository: StoredRepository) -> str:
        """Say why nothing of a mirrored repository goes now; empty: it may."""
        if not _is_mirror(repository):
            return ""
        holder = self._unclear.get(store_of(repository.name))
        if holder is not None:
            return f"may be what {holder} names by an index"
        starting = next((build for build in self._builds if _is_starting(build)), None)
        return f"{starting.key} has not said yet which images it needs" if starting else ""


def _mirrored_index(repository: StoredRepository, tag: str) -> Digest | None:
    return index_of_tag(tag) if _is_mirror(repository) else None


def _image_tags(repository: StoredRepository) -> Iterator[tuple[str, StoredTag]]:
    """Yield the tags that name images; those of signatures follow their images."""
    return (item for item in repository.tags.items() if image_of_tag(item[0]) is None)


def _pushed_images(images: Iterable[Image], host: str) -> Iterator[tuple[str, Digest]]:
    """Yield the images of the registry's streams, as their Images record them, by repository."""
    for image in images:
        pinned = reference_of(image.docker_image_reference)
        if pinned is not None and pinned.digest is not None and pinned.registry == host:
            yield pinned.repository, pinned.digest


def _is_inputs_tag(tag: str) -> bool:
    return tag.startswith(INPUTS_TAG_PREFIX)


def _is_mirror(repository: StoredRepository) -> bool:
    return repository.name.startswith(f"{MIRROR_NAMESPACE}/")


def _is_starting(build: Build) -> bool:
    """Return True if a build will name more images than it does now."""
    outside = build.spec.strategy.jenkins_pipeline_strategy is not None
    return not (build.status.phase.is_terminal or build.status.images or outside)


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigestError:
        return None
