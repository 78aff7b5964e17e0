"""tag: an image is named by a digest that its stream has."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import OLD, stream

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]


@pytest.fixture
async def web(client: "FakeClient") -> "FakeClient":
    await client.put(stream("web", "x", OLD))
    client.answers["imagestreamtags/web:y/"] = {}
    return client


@pytest.mark.parametrize("digest", [OLD, OLD[:13], OLD[7:19]])
def test_a_digest_of_the_stream_is_tagged_in_full(
    upwell: Upwell, web: "FakeClient", digest: str
) -> None:
    result = upwell("tag", f"web@{digest}", "web:y")
    assert (result.exit_code, result.stderr) == (0, "")
    (_, _, body) = web.calls[-1]
    expected = {"kind": "ImageStreamImage", "namespace": "default", "name": f"web@{OLD}"}
    assert body["tag"]["from"] == expected


@pytest.mark.parametrize("digest", ["sha256:12", "sha256:" + "9" * 64, ""])
def test_a_digest_that_the_stream_does_not_have_is_refused(
    upwell: Upwell, web: "FakeClient", digest: str
) -> None:
    result = upwell("tag", f"web@{digest}", "web:y")
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"imagestream/web in namespace default has or had one image {digest!r}" in result.stderr
    assert "`upwell describe imagestream/web -n default` lists them" in result.stderr
    assert not web.calls


def test_a_stream_that_does_not_exist_is_named(upwell: Upwell, web: "FakeClient") -> None:
    del web
    result = upwell("tag", f"other@{OLD}", "web:y")
    assert result.exit_code == 3
    assert '"other" not found in namespace default' in result.stderr
