"""Sign-in of browsers: whose cookie counts for what, and what no other site gets done by it."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.server.signed_in import SignedInApi, open_signed_in_api

SESSION, LOGIN = "__Host-upwell-session", "__Host-upwell-login"
ADA = "oidc:4711"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[SignedInApi]:
    async with open_signed_in_api(tmp_path) as api:
        yield api


async def test_a_browser_signs_in_and_out(here: SignedInApi) -> None:
    browser = await here.signed_in_browser()
    account = await browser.get("/account")
    assert (account.status, ADA in account.text) == (200, True)
    assert "deployer@shop" in account.text

    form, session = field_of(account.text, "form"), button_of(account.text)
    out = await browser.post("/account", {"form": form, "end": session})

    assert "signed out" in out.text
    assert SESSION not in browser.cookies
    assert (await browser.get("/account")).location == "/login"
    lines = [(one["user"], one["resource"], one["name"]) for one in here.audit()]
    assert lines == [(ADA, "sessions", session), (ADA, "account", session)]


async def test_cookies_are_for_this_server_alone_and_no_script(here: SignedInApi) -> None:
    browser = here.browser()
    begun = await browser.get("/login")
    here.provider.nonce = nonce_of(begun.location)
    done = await browser.get(f"/oidc/callback?code=c&state={state_of(begun.location)}")

    for text in (begun.cookies[LOGIN], done.cookies[SESSION]):
        attributes = {part.strip().lower() for part in text.split(";")[1:]}
        assert {"httponly", "secure", "samesite=lax", "path=/"} <= attributes
        assert not any(part.startswith("domain") for part in attributes)
    assert done.location == "/account"
    assert LOGIN not in browser.cookies


async def test_a_cookie_opens_no_api(here: SignedInApi) -> None:
    browser = await here.signed_in_browser()
    paths = ["/api/v1/namespaces/shop/configmaps", "/oidc/sessions", "/v2/_catalog"]

    assert [(await browser.get(path)).status for path in paths] == [401, 401, 401]
    bearer = f"Bearer {browser.cookies[SESSION]}"
    assert [(await browser.get(path, Authorization=bearer)).status for path in paths] == [401] * 3


async def test_the_answer_of_another_browsers_sign_in_is_refused(here: SignedInApi) -> None:
    attacker, victim = here.browser(), here.browser()
    state = await here.begin(attacker)

    without = await victim.get(f"/oidc/callback?code=c&state={state}")
    await here.begin(victim)
    other = await victim.get(f"/oidc/callback?code=c&state={state}")

    assert (without.status, other.status) == (403, 403)
    assert SESSION not in victim.cookies
    assert here.provider.count("token") == 0


async def test_a_token_of_another_sign_in_is_refused(here: SignedInApi) -> None:
    browser = here.browser()
    state = await here.begin(browser)
    here.provider.nonce = "that of an attacker"

    answer = await browser.get(f"/oidc/callback?code=c&state={state}")

    assert answer.status == 403
    assert SESSION not in browser.cookies


@pytest.mark.parametrize(
    "query",
    [
        "",
        "code=c",
        "state=",
        "error=access_denied",
        "error=%3Cscript%3E&error_description=%3Cscript%3E",
        "code=c&iss=https://evil.example.com",
    ],
)
async def test_an_answer_that_is_none_signs_nobody_in(here: SignedInApi, query: str) -> None:
    browser = here.browser()
    state = await here.begin(browser)
    given = "" if "state" in query else f"&state={state}" * (query != "code=c")

    answer = await browser.get(f"/oidc/callback?{query}{given}")

    assert answer.status == 403
    assert "<script" not in answer.text
    assert SESSION not in browser.cookies


async def test_a_sign_in_that_takes_too_long_is_begun_anew(here: SignedInApi) -> None:
    browser = here.browser()
    state = await here.begin(browser)
    here.pass_time(minutes=11)

    answer = await browser.get(f"/oidc/callback?code=c&state={state}")

    assert answer.status == 403
    assert "https://upwell.example.com/login" in answer.text


async def test_a_session_that_somebody_planted_is_replaced(here: SignedInApi) -> None:
    planted = await here.signed_in_browser()
    browser = here.browser()
    browser.cookies[SESSION] = planted.cookies[SESSION]
    here.provider.person = {"sub": "4712", "groups": ["developers"]}
    state = await here.begin(browser)

    await browser.get(f"/oidc/callback?code=c&state={state}")

    assert browser.cookies[SESSION] != planted.cookies[SESSION]
    assert "oidc:4712" in (await browser.get("/account")).text
    assert (await planted.get("/account")).location == "/login"


async def test_where_a_browser_goes_on_is_no_ones_to_say(here: SignedInApi) -> None:
    for path in (
        "/login?next=https://evil.example.com",
        "/login?next=//evil.example.com",
        "/login?redirect_uri=https://evil.example.com",
    ):
        browser = here.browser()
        answer = await browser.get(path, Host="127.0.0.1", X_Forwarded_Host="evil.example.com")
        assert "evil" not in answer.location
        here.provider.nonce = nonce_of(answer.location)
        state = state_of(answer.location)
        done = await browser.get(f"/oidc/callback?code=c&state={state}&next=//evil.example.com")
        assert done.location == "/account"


async def test_a_form_of_another_site_is_not_taken(here: SignedInApi) -> None:
    browser = await here.signed_in_browser()
    page = (await browser.get("/account")).text
    form = {"form": field_of(page, "form"), "end": button_of(page)}

    for headers in (
        {"Origin": "https://evil.example.com"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "http://upwell.example.com"},
    ):
        assert (await browser.post("/account", form, **headers)).status == 403
    for forged in ({"end": form["end"]}, {**form, "form": "x"}):
        assert (await browser.post("/account", forged)).status == 403
    assert (await browser.get("/account")).status == 200
    own = {"Origin": "https://upwell.example.com", "Sec_Fetch_Site": "same-origin"}
    assert (await browser.post("/account", form, **own)).status == 200


async def test_a_form_of_one_session_is_none_of_another(here: SignedInApi) -> None:
    first, second = await here.signed_in_browser(), await here.signed_in_browser()
    form = field_of((await first.get("/account")).text, "form")
    session = button_of((await second.get("/account")).text)

    assert (await second.post("/account", {"form": form, "end": session})).status == 403


async def test_a_person_ends_their_other_sessions_and_nobody_elses(here: SignedInApi) -> None:
    token = await here.device()
    (mine,) = (await here.send(token, "GET", "/oidc/sessions")).json["items"]
    here.provider.person = {"sub": "4712", "groups": ["developers"]}
    other = await here.device()
    (theirs,) = (await here.send(other, "GET", "/oidc/sessions")).json["items"]
    here.provider.person = {"sub": "4711", "groups": ["developers"]}
    browser = await here.signed_in_browser()
    form = field_of((await browser.get("/account")).text, "form")

    refused = await browser.post("/account", {"form": form, "end": theirs["id"]})
    ended = await browser.post("/account", {"form": form, "end": mine["id"]})

    assert (refused.status, ended.status) == (404, 303)
    assert (await here.send(other, "GET", "/oidc/sessions")).status == 200
    assert (await here.send(token, "GET", "/oidc/sessions")).status == 401


async def test_a_lost_group_ends_a_browsers_session(here: SignedInApi) -> None:
    browser = await here.signed_in_browser()
    here.provider.person["groups"] = []
    here.provider.nonce = ""
    here.pass_time(minutes=6)

    assert (await browser.get("/account")).location == "/login"


async def test_names_are_texts_on_pages(here: SignedInApi) -> None:
    here.provider.person = {"sub": "<b>x</b>", "groups": ["developers", "<script>"]}
    browser = await here.signed_in_browser()

    page = (await browser.get("/account")).text

    assert "<b>x" not in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def field_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def button_of(page: str) -> str:
    """Return the session that the button for signing out ends."""
    found = re.search(r'name="end" value="([^"]+)">Sign out', page)
    assert found is not None
    return found[1]


def state_of(location: str) -> str:
    found = re.search(r"[?&]state=([^&]+)", location)
    assert found is not None
    return found[1]


def nonce_of(location: str) -> str:
    found = re.search(r"[?&]nonce=([^&]+)", location)
    assert found is not None
    return found[1]
