"""Labels that `upwell s2i rebuild` builds from."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from upwell.app.local_builds import SharedImageStore
from upwell.builder.interface import BuildError
from upwell.cli.s2i import engine
from upwell.oci import ImageConfig, Reference

HERE, ELSEWHERE = "localhost/here:latest", "registry.test/elsewhere:latest"


def labelled(name: str) -> ImageConfig:
    document = f'{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"of":"{name}"}}}}}}'
    return ImageConfig.parse(document.encode())


class OneImage:
    """A store with one image, and a registry with another."""

    async def stored_config(self, name: str) -> ImageConfig:
        if name != HERE:
            raise BuildError("PullBuilderImageFailed", name)
        return labelled(name)

    async def inspect(self, image: Reference) -> ImageConfig:
        if str(image) != ELSEWHERE:
            raise BuildError("PullBuilderImageFailed", str(image))
        return labelled(str(image))


@pytest.mark.parametrize("name", [HERE, ELSEWHERE])
async def test_an_image_that_is_here_is_not_asked_for_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[OneImage]:
        yield OneImage()

    monkeypatch.setattr(engine, "_builder", opened)
    store = SharedImageStore(tmp_path, tmp_path)
    found = await engine.labels_of(name.removesuffix(":latest"), "always", store)
    assert found == {"of": name}
