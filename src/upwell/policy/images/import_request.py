"""Import that a declared tag asks for: the source, and what of an index is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell.api.image import ImageManifest, ImportMode, TagReference
from upwell.oci import Platform
from upwell.policy.images.relevance import for_platform
from upwell.policy.images.selection import SELECTION_ANNOTATION

PREFER_ARCH = "importer.image.openshift.io/prefer-arch"
PREFER_OS = "importer.image.openshift.io/prefer-os"
_FALLBACK = Platform("linux", "amd64")


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """An import as a tag asks for it."""

    source: str
    legacy: bool = False
    """True if an index is replaced by one of its manifests."""
    prefer_os: str = ""
    prefer_arch: str = ""
    selection: str = ""
    insecure: bool = False

    @property
    def text(self) -> str:
        """Text of the options without the source; empty for an import without any.

        The state of an import remembers it: another text is another question.
        """
        options = []
        if self.legacy:
            preferred = "/".join(filter(None, (self.prefer_os, self.prefer_arch)))
            options.append(f"{ImportMode.LEGACY} {preferred}".strip())
        if self.selection:
            options.append(self.selection)
        if self.insecure:
            options.append("insecure")
        return "; ".join(options)

    def child_of(
        self, manifests: Sequence[ImageManifest], ours: Sequence[Platform]
    ) -> ImageManifest | None:
        """Return which manifest takes the place of its index; None of an empty index.

        The preferred platform first, else ours; then linux/amd64, then whatever comes first.
        """
        if self.prefer_os or self.prefer_arch:
            for entry in manifests:
                if self.prefer_os in {"", entry.os} and self.prefer_arch in {
                    "",
                    entry.architecture,
                }:
                    return entry
            ours = ()
        for wanted in (*ours, _FALLBACK):
            found = for_platform(manifests, wanted)
            if found is not None:
                return found
        return next(iter(manifests), None)


def request_of(tag: TagReference) -> ImportRequest | None:
    """Return what the tag asks for; None when it imports nothing.

    An index is kept whole unless importMode is Legacy, or is not set while the annotations name a
    platform: whoever names one wants its image.
    """
    if tag.imports is None:
        return None
    mode = tag.import_policy.import_mode if tag.import_policy else None
    prefer_os = tag.annotations.get(PREFER_OS, "")
    prefer_arch = tag.annotations.get(PREFER_ARCH, "")
    legacy = mode is ImportMode.LEGACY or (mode is None and bool(prefer_os or prefer_arch))
    return ImportRequest(
        source=tag.imports,
        legacy=legacy,
        prefer_os=prefer_os if legacy else "",
        prefer_arch=prefer_arch if legacy else "",
        selection=tag.annotations.get(SELECTION_ANNOTATION, ""),
        insecure=tag.insecure,
    )
