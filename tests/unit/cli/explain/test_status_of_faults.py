"""The tree of status where an output has no stream, and where builds go round."""

from datetime import UTC, datetime
from typing import Any

from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.freshness import Snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def config(name: str, base: str, *, follows: bool, paused: bool = False) -> BuildConfig:
    trigger: dict[str, Any] = {"type": "ImageChange", "imageChange": {"paused": paused}}
    tag = {"kind": "ImageStreamTag", "name": base}
    return decode_as(
        BuildConfig,
        {
            "metadata": {"namespace": "shop", "name": name},
            "spec": {
                "source": {"git": {"uri": "https://git.test/shop.git"}},
                "strategy": {"type": "Docker", "dockerStrategy": {"from": tag}},
                "output": {"to": {"kind": "ImageStreamTag", "name": f"{name}:latest"}},
                "triggers": [trigger] if follows else [],
            },
        },
    )


def stream(name: str) -> ImageStream:
    return decode_as(ImageStream, {"metadata": {"namespace": "shop", "name": name}})


def lines(*objects: Resource) -> list[str]:
    return list(StatusTree(Snapshot(objects), NOW, "shop").lines())


def rings(*configs: BuildConfig) -> list[str]:
    found = lines(stream("a"), stream("b"), *configs)
    return [line for line in found if "endlessly" in line]


def test_only_a_ring_that_turns_by_itself_is_called_endless() -> None:
    a = config("a", "b:latest", follows=True)

    [ring] = rings(a, config("b", "a:latest", follows=True))
    assert ring.count("BuildConfig") >= 2
    assert rings(a, config("b", "a:latest", follows=False)) == []
    assert rings(a, config("b", "a:latest", follows=True, paused=True)) == []


def test_an_output_without_stream_is_not_told_as_one_without_image() -> None:
    built = config("a", "b:latest", follows=True)

    [line] = [one for one in lines(built, stream("b")) if "shop/a:latest" in one]
    assert "ImageStream shop/a does not exist: create it" in line
    [line] = [one for one in lines(built, stream("a"), stream("b")) if "shop/a:latest" in one]
    assert line.endswith("no image yet")
