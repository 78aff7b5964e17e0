"""A branch of a repository as a stage sees it: its manifests, and who has changed them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from upwell.api.pipeline import GitTarget
from upwell.gitops.interface import BranchCommit, RepositoryClone, TreeFile
from upwell.policy.promotion import git_commits
from upwell.policy.promotion.manifests.editing import edit
from upwell.policy.promotion.manifests.files import choose, narrowed, place, words
from upwell.policy.promotion.manifests.wanted import ManifestError, WantedImage
from upwell.policy.promotion.moves import Move


@dataclass(frozen=True, slots=True)
class Branch:
    """A fetched branch."""

    name: str
    tip: str
    target: GitTarget
    files: Mapping[str, TreeFile]
    """Those that may name an image, by path."""
    texts: Mapping[str, str]
    history: Sequence[BranchCommit]

    async def edited(self, wanted: Sequence[WantedImage]) -> dict[TreeFile, str]:
        """Return what has to change for the images: nothing when all are there.

        Raises ManifestError when an image has no place.
        """
        try:
            found = await asyncio.to_thread(
                edit, self.target.format, self.texts, wanted, place(self.target.path)
            )
        except ManifestError as error:
            raise ManifestError(f"{self.target.repository}, branch {self.name}: {error}") from error
        return {self.files[path]: text for path, text in found.items()}

    def commit_of(self, move: Move) -> str:
        """Return the commit that was made here for a move; empty when there is none."""
        found = (one.id for one in self.history if git_commits.is_of(one.trailers, move))
        return next(found, "")

    def newest_of_stage(self, move: Move) -> BranchCommit | None:
        """Return the newest commit that was made here for the stage."""
        found = (one for one in self.history if git_commits.is_of_stage(one.trailers, move))
        return next(found, None)

    def author_of(self, commit: str) -> str:
        """Return who has made a commit, as far as that is known."""
        return next((one.author for one in self.history if one.id == commit), "somebody")


async def read_branch(
    clone: RepositoryClone, name: str, tip: str, target: GitTarget, wanted: Collection[WantedImage]
) -> Branch:
    """Read what a fetched branch has for a stage; raises RepositoryError or ManifestError."""
    try:
        path = place(target.path)
        chosen = choose(await clone.tree(tip, path), target.format, path)
        sought = words(target.format, wanted)
        holding = await clone.containing(tip, path, sought) if sought else None
        files = {one.path: one for one in narrowed(chosen, holding)}
    except ManifestError as error:
        raise ManifestError(f"{target.repository}, branch {name}: {error}") from error
    texts = {path: await clone.read(one) for path, one in files.items()}
    return Branch(name, tip, target, files, texts, await clone.history(tip))
