"""`upwell builders`: how old builder images are, and building them anew."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.cli.conftest import OLD

from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.api.image import Image, ImageStream

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


@pytest.fixture
def built(upwell: Upwell, client: "FakeClient") -> None:
    """A builder of PHP that was built a while ago, on an image of two days ago."""
    assert upwell("builders", "create", "php", "--base", "vendor.test/debian:13").exit_code == 0
    asyncio.run(_build(client))


async def _build(client: "FakeClient") -> None:
    stream = await client.get(ImageStream, "default", "debian")
    pulled = f"vendor.test/debian@{OLD}"
    item = {"created": "2026-02-28T12:00:00Z", "image": OLD, "dockerImageReference": pulled}
    tags = {"tags": [{"tag": "13", "items": [item]}]}
    has_image = decode_as(ImageStream, {"metadata": {"name": "debian"}, "status": tags})
    await client.update_status(stream.with_status(has_image.status))
    made = {"Created": "2026-02-27T12:00:00.123456789Z"}
    image = {"metadata": {"name": OLD}, "dockerImageMetadata": made}
    await client.create(decode_as(Image, image))
    labels = {"openshift.io/build-config.name": "php-builder"}
    metadata = {"namespace": "default", "name": "php-builder-0", "labels": labels}
    status = {"phase": "Complete", "completionTimestamp": "2026-03-01T11:50:00Z"}
    build = decode_as(Build, {"metadata": metadata, "spec": {}, "status": status})
    await client.update_status((await client.create(build)).with_status(build.status))


def rows(upwell: Upwell) -> dict[str, dict[str, Any]]:
    listed = json.loads(upwell("builders", "list", "-o", "json").stdout)
    return {one["language"]: one for one in listed["items"]}


@pytest.mark.usefixtures("built")
def test_the_list_says_how_old_an_image_and_its_base_are(upwell: Upwell) -> None:
    php, ruby = (rows(upwell)[one] for one in ("php", "ruby"))

    assert (php["built"], php["base"]) == ("2026-03-01T11:50:00Z", "default/debian:13")
    assert php["baseMade"].startswith("2026-02-27T12:00:00")
    assert (ruby["created"], ruby["built"], ruby["base"]) == (False, None, None)
    [line] = [one for one in upwell("builders", "list").stdout.splitlines() if "php-" in one]
    assert line.split()[2:] == ["15m", "ago", "default/debian:13", "2d", "ago"]
    assert len(line) < 80
    assert "php-cli,php-curl" in upwell("builders", "list", "-o", "wide").stdout


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("languages", [(), ("php",)])
def test_an_update_builds_without_kept_steps(
    upwell: Upwell, client: "FakeClient", languages: tuple[str, ...]
) -> None:
    done = upwell("builders", "update", *languages)

    assert (done.exit_code, done.stdout.count("started")) == (0, 1)
    [(_, _, request)] = [one for one in client.calls if "instantiate" in str(one[1])]
    assert request["dockerStrategyOptions"] == {"noCache": True}


def test_what_is_not_there_is_not_updated(upwell: Upwell) -> None:
    none = upwell("builders", "update")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no builder images in namespace default" in none.stderr

    ruby = upwell("builders", "update", "ruby")
    assert ruby.exit_code == 3
    assert "`upwell builders create ruby` creates it" in ruby.stderr
