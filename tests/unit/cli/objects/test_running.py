"""`new-app --wait`: until it runs, and where it is."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.route import Route
from upwell.cli.objects.running import url_of

if TYPE_CHECKING:
    from click.testing import Result

NEW = ("new-app", "--image", "registry.test/shop:1", "--name", "shop", "--port", "80", "--expose")


@pytest.mark.parametrize(
    ("spec", "router", "url"),
    [
        ({}, "127.0.0.1:7088", "http://shop.test:7088/"),
        ({"path": "/a"}, "0.0.0.0:80", "http://shop.test/a"),
        ({}, None, "http://shop.test/"),
        ({"tls": {"termination": "edge"}}, "127.0.0.1:7088", "https://shop.test/"),
    ],
)
def test_the_url_has_the_port_of_the_router(
    spec: dict[str, Any], router: str | None, url: str
) -> None:
    document = {
        "metadata": {"name": "shop"},
        "spec": {"host": "shop.test", "to": {"kind": "Service", "name": "shop"}, **spec},
        "status": {"ingress": [{"routerName": "default", "routerCanonicalHostname": router}]},
    }
    assert url_of(decode_as(Route, document)) == url


@pytest.mark.usefixtures("running")
def test_it_waits_until_it_runs(upwell: Callable[..., "Result"]) -> None:
    done = upwell(*NEW, "--wait", "--timeout", "30s")

    assert done.exit_code == 0, done.output
    assert "deployment.apps/shop runs" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("http://")


def test_it_says_what_to_look_at_when_it_does_not_run(upwell: Callable[..., "Result"]) -> None:
    done = upwell(*NEW, "--wait", "--timeout", "1s")
    assert done.exit_code == 5
    assert done.stderr.splitlines()[-1] == (
        "error: deployment.apps/shop does not run yet, after 1 s: the server has not seen the last"
        " change yet; `upwell explain deployment/shop` says why"
    )
