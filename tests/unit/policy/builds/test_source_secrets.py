import pytest

from upwell.api.core import Secret
from upwell.api.meta import ObjectMeta
from upwell.policy.builds.source_secrets import MATCH_ANNOTATION_PREFIX, matching_secret


def secret(name: str, *patterns: str) -> Secret:
    annotations = {f"{MATCH_ANNOTATION_PREFIX}{n}": text for n, text in enumerate(patterns, 1)}
    return Secret(metadata=ObjectMeta(name=name, namespace="shop", annotations=annotations))


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        (
            "ssh://bitbucket.corp.example:7999/*",
            ["ssh://git@bitbucket.corp.example:7999/a/b.git"],
            ["ssh://git@bitbucket.corp.example/a", "https://bitbucket.corp.example:7999/a"],
        ),
        (
            "https://*.corp.example/*",
            [
                "https://git.corp.example/a",
                "https://me:pw@A.B.corp.example/",
                "HTTPS://x.corp.example",
            ],
            [
                "https://corp.example/a",
                "https://git.corp.example.evil/a",
                "http://x.corp.example/a",
            ],
        ),
        (
            "*://git.corp.example/team/*",
            ["git@git.corp.example:team/a"],
            ["git@git.corp.example:b"],
        ),
        (
            "https://*/*/app.git",
            ["https://h/a/b/app.git"],
            ["https://h/app.git", "https://h/a/app"],
        ),
        ("https://h/a", ["https://h/a"], ["https://h/a/b", "https://h/"]),
        ("*://*/*", ["git://h/a", "git@h:a", "https://h"], []),
        ("ftp://h/*", [], ["ftp://h/a"]),
        ("h/*", [], ["https://h/a", "h:a"]),
    ],
)
def test_a_pattern_fits_addresses(pattern: str, fitting: list[str], others: list[str]) -> None:
    known = secret("a", pattern)
    assert [uri for uri in fitting if matching_secret(uri, [known]) is None] == []
    assert [uri for uri in others if matching_secret(uri, [known]) is not None] == []


def test_the_closest_pattern_wins() -> None:
    wide, host = secret("wide", "*://*/*"), secret("host", "*://git.example/*", "https://no/*")
    team = secret("team", "*://*/team/*")
    plain, https = secret("plain", "*://h/*"), secret("https", "https://h/*")
    for uri, secrets, expected in (
        ("https://git.example/x", [wide, host, team], host),
        ("https://git.example/team/x", [team, host, wide], team),
        ("https://h/x", [plain, https], https),
        ("https://h/x", [https, plain], https),
    ):
        assert matching_secret(uri, secrets) is expected


@pytest.mark.parametrize("uri", ["", "https://[", "/a/b", "no address", "file:///a"])
def test_what_is_no_address_has_no_secret(uri: str) -> None:
    assert matching_secret(uri, [secret("a", "https://*/*")]) is None


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    pattern = "https://h/" + "*a" * 5000
    assert matching_secret("https://h/" + "a" * 4999 + "b", [secret("a", pattern)]) is None
