"""Origin of a Release's component: its build, its commit, the bases below it."""

from collections.abc import Callable, Iterator

from upwell.api.builds.build import Build
from upwell.api.promotion import BaseImage, Component
from upwell.policy.builds.triggers import digest_of

type FindBuild = Callable[[str], Build | None]
"""Digest -> the build that made it."""


def component(name: str, image: str, find: FindBuild) -> Component:
    """Return a component with where `image`, a pull spec with digest, comes from."""
    build = find(digest_of(image))
    if build is None:
        return Component(name=name, image=image)
    return Component(
        name=name,
        image=image,
        build=f"{build.namespace}/{build.name}",
        revision=build.revision.commit,
        bases=tuple(bases(build, find)),
    )


def bases(build: Build, find: FindBuild) -> Iterator[BaseImage]:
    """Yield the images that a build stands on, those of its bases' own builds included."""
    seen: set[str] = set()
    walk = [build]
    while walk:
        for used in walk.pop(0).status.images:
            digest = digest_of(used.reference)
            if not digest or digest in seen:
                continue
            seen.add(digest)
            yield BaseImage(image=used.stream_tag or used.name, digest=digest)
            made_by = find(digest)
            if made_by is not None:
                walk.append(made_by)
