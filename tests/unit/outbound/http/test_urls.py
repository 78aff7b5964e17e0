"""URLs that requests lead to, and those that answers name."""

import pytest

from upwell.outbound.http.urls import HttpUrl

_NO_URL = "URL|[Pp]ort|address"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://A.example", HttpUrl("http", "a.example", 80)),
        ("https://a.example/v2/", HttpUrl("https", "a.example", 443, "/v2/")),
        ("http://a.example:5000?x=1#part", HttpUrl("http", "a.example", 5000, "/?x=1")),
        ("http://user:word@a.example/", HttpUrl("http", "a.example", 80)),
        ("https://[2001:DB8::1]:8443/x", HttpUrl("https", "2001:db8::1", 8443, "/x")),
        ("http://[fe80::1%eth0]/", HttpUrl("http", "fe80::1%eth0", 80)),
        ("http://a_b.example:/", HttpUrl("http", "a_b.example", 80)),
    ],
)
def test_a_url_is_taken_apart(text: str, url: HttpUrl) -> None:
    assert HttpUrl.parse(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example/v2/",
        "/v2/",
        "ftp://a.example/",
        "http:///v2/",
        "http://a.example:0/",
        "http://a.example:65536/",
        "http://a.example:x/",
        "http://[::1/",
        "http://[no.address]/",
        "http://a b.example/",
        "http://a%2Fb.example/",
        "http://ä.example/",
        "http://a\\b.example/",
    ],
)
def test_what_leads_nowhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=_NO_URL):
        HttpUrl.parse(text)


def test_what_is_sent_as_it_is_stays_and_the_rest_is_encoded() -> None:
    signed = "/a%2Fb/~x;y=1?sig=A+b%7E/==&q='(|)'"
    assert HttpUrl.parse(f"https://a.example{signed}").target == signed
    assert HttpUrl.parse("https://a.example/a b/ä\udcff?ö").target == "/a%20b/%C3%A4%FF?%C3%B6"


@pytest.mark.parametrize(
    ("reference", "url"),
    [
        ("/v2/x?y=1", "https://a.example:8443/v2/x?y=1"),
        ("next?z", "https://a.example:8443/v2/app/next?z"),
        ("../other", "https://a.example:8443/v2/other"),
        ("?n=2", "https://a.example:8443/v2/app/tags?n=2"),
        ("//b.example/x", "https://b.example/x"),
        ("http://c.example/x#y", "http://c.example/x"),
        ("", "https://a.example:8443/v2/app/tags?n=1"),
    ],
)
def test_a_reference_leads_on_from_the_url_of_its_answer(reference: str, url: str) -> None:
    assert str(HttpUrl.parse("https://a.example:8443/v2/app/tags?n=1").join(reference)) == url


@pytest.mark.parametrize("reference", ["ftp://a.example/", "javascript:x", "http://[::1/"])
def test_a_reference_that_leads_nowhere_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match=_NO_URL):
        HttpUrl.parse("https://a.example/").join(reference)


def test_a_query_grows() -> None:
    url = HttpUrl.parse("https://a.example/token")
    assert url.with_query(()) == url
    more = url.with_query([("service", "a b"), ("scope", "repository:x:pull")])
    assert more.target == "/token?service=a+b&scope=repository%3Ax%3Apull"
    assert more.with_query([("c", "&")]).target.endswith("%3Apull&c=%26")


def test_an_origin_is_scheme_host_and_port() -> None:
    url = HttpUrl.parse("https://a.example/x")
    assert url.is_same_origin(HttpUrl.parse("https://A.example:443/y"))
    for other in ("http://a.example:443/x", "https://b.example/x", "https://a.example:444/x"):
        assert not url.is_same_origin(HttpUrl.parse(other))
