"""Subscriptions at the API: what is refused, who may write which, their parts."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.delivery.receivers import Receivers
from tests.support.server.api_server import Api, ApiAnswer, ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.actions.notifications import SubscriptionActions
from upwell.api.subscription import Subscription
from upwell.controller import ObjectCache
from upwell.delivery.interface import DeliveryError, Envelope, Fate
from upwell.delivery.sqlite import SqliteOutbox
from upwell.policy.access.roles import parse_grant
from upwell.reconcilers.notifications import Senders, Subscriptions
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import TokenRecord, Tokens, hash_of, new_token
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.store.memory import MemoryStore

PATH = "/apis/upwell.dev/v1alpha1/namespaces/shop/subscriptions"
WEBHOOK = {"webhook": {"url": "http://ci.test/hook"}}


def document(name: str = "ci", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec or WEBHOOK}


class SubscriptionApi:
    """The API with tokens, over an outbox on disk and receivers in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = SqliteOutbox(folder / "deliveries.db")
        self.receivers = Receivers()
        self.api: Api

    def subscriptions(self, store: MemoryStore, clock: ApiClock) -> SubscriptionActions:
        senders = Senders(self.outbox, self.receivers, self.receivers)
        source = "http://upwell.test"
        deliveries = Subscriptions(ObjectCache(store), senders, source, clock)
        return SubscriptionActions(
            store, self.outbox, deliveries.targets, deliveries.dispatcher, source, clock
        )

    def guard(self, store: MemoryStore, clock: ApiClock) -> AccessControl:
        return AccessControl(
            Tokens(store, clock),
            audit_log(self.folder, clock),
        )

    async def token(self, name: str, grant: str) -> str:
        token = new_token(name)
        record = TokenRecord(name, hash_of(token), (parse_grant(grant),))
        await self.api.store.create(record.as_secret())
        return token

    async def send(
        self, token: str, method: str, path: str, body: Any = None, form: str = "json"
    ) -> ApiAnswer:
        form = f"application/{form}"
        return await self.api.send(method, path, body, form, Authorization=f"Bearer {token}")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[SubscriptionApi]:
    served = SubscriptionApi(tmp_path)
    async with serving(
        DEFAULT_LIMITS, guard=served.guard, subscriptions=served.subscriptions
    ) as served.api:
        yield served
    served.outbox.close()


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"suspend": True}, "spec: set one of webhook and notice"),
        ({**WEBHOOK, "notice": {"secret": {"name": "x"}}}, "spec: set one of webhook and notice"),
        ({"notice": {}}, "spec.notice.secret.name: required"),
        ({"webhook": {}}, "spec.webhook.url: "),
        ({"webhook": {"url": "ftp://ci.test/"}}, "spec.webhook.url: expected http://HOST"),
        ({"webhook": {"url": "http://"}}, "spec.webhook.url: expected http://HOST"),
        ({"webhook": {"url": "http://h:99999/"}}, "spec.webhook.url: not a URL"),
        ({"webhook": {"url": "http://u:p@ci.test/"}}, "a URL is not secret"),
        ({"webhook": {"url": "http://169.254.169.254/"}}, "169.254.169.254 is link-local"),
        ({"webhook": {"url": "http://[::ffff:169.254.1.1]/"}}, "is link-local"),
        ({"webhook": {"url": "http://x/", "secret": {}}}, "spec.webhook.secret.name: required"),
        ({**WEBHOOK, "namespaces": ["bank"]}, 'spec.namespaces: leave it out, or set ["*"]'),
        ({**WEBHOOK, "digest": {"schedule": "often"}}, "spec.digest.schedule: "),
        (
            {**WEBHOOK, "digest": {"schedule": "@daily", "timeZone": "Mars"}},
            "spec.digest.timeZone: ",
        ),
        ({**WEBHOOK, "filter": {"severities": ["bad"]}}, "spec.filter.severities"),
        ({**WEBHOOK, "retries": {"attempts": 0}}, "spec.retries.attempts"),
    ],
)
async def test_what_cannot_work_is_refused(
    served: SubscriptionApi, spec: dict[str, Any], fault: str
) -> None:
    token = await served.token("ada", "promoter@shop")
    answer = await served.send(token, "POST", PATH, document(**spec))
    assert answer.status == 422
    assert fault in answer.json["message"]


async def test_a_promoter_writes_subscriptions_of_his_namespace(served: SubscriptionApi) -> None:
    token = await served.token("ada", "promoter@shop")
    assert (await served.send(token, "POST", PATH, document())).status == 201
    elsewhere = PATH.replace("/shop/", "/bank/")
    assert (await served.send(token, "POST", elsewhere, document())).status == 403
    viewer = await served.token("bob", "viewer@shop")
    assert (await served.send(viewer, "GET", f"{PATH}/ci")).status == 200
    assert (await served.send(viewer, "POST", f"{PATH}/ci/test")).status == 403
    assert (await served.send(viewer, "GET", f"{PATH}/ci/deadletters")).status == 403


@pytest.mark.parametrize("grant", ["promoter@*", "admin@shop"])
async def test_only_an_admin_of_everything_may_listen_everywhere(
    served: SubscriptionApi, grant: str
) -> None:
    token, admin = await served.token("ada", grant), await served.token("root", "admin@*")
    everywhere = document(webhook=WEBHOOK["webhook"], namespaces=["*"])
    refused = await served.send(token, "POST", PATH, everywhere)
    assert refused.status == 403
    assert "needs role admin in all namespaces" in refused.json["message"]
    assert (await served.send(admin, "POST", PATH, everywhere)).status == 201

    # What an admin made cannot be turned elsewhere, by whichever way of writing.
    moved = document(webhook={"url": "http://evil.test/"}, namespaces=["*"])
    assert (await served.send(token, "PUT", f"{PATH}/ci", moved)).status == 403
    patch = {"spec": {"webhook": {"url": "http://evil.test/"}}}
    merged = await served.send(token, "PATCH", f"{PATH}/ci", patch, "merge-patch+json")
    assert merged.status == 403
    applied = {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Subscription",
        "metadata": {"name": "ci"},
        "spec": patch["spec"],
    }
    path = f"{PATH}/ci?fieldManager=x&force=true"
    assert (await served.send(token, "PATCH", path, applied, "apply-patch+yaml")).status == 403
    narrowed = await served.send(token, "PUT", f"{PATH}/ci", document())
    assert narrowed.status == 200


async def test_a_test_says_what_came_back(served: SubscriptionApi) -> None:
    token = await served.token("ada", "promoter@shop")
    await served.send(token, "POST", PATH, document())
    answer = await served.send(token, "POST", f"{PATH}/ci/test")
    assert (answer.json["delivered"], answer.json["message"]) == (True, "204 No Content")
    assert [one.type for one in served.receivers.received] == ["dev.upwell.test"]
    served.receivers.answer = lambda _: DeliveryError("answered 500 No")
    answer = await served.send(token, "POST", f"{PATH}/ci/test")
    assert (answer.status, answer.json["delivered"]) == (200, False)
    assert answer.json["message"] == "answered 500 No"
    assert (await served.send(token, "POST", f"{PATH}/nix/test")).status == 404


async def test_dead_letters_are_listed_and_sent_again(served: SubscriptionApi) -> None:
    token = await served.token("ada", "promoter@shop")
    await served.send(token, "POST", PATH, document())
    made = await served.api.store.get(Subscription, "shop", "ci")
    now = served.api.clock()
    for name in ("one", "two"):
        letter = Envelope(name, "dev.upwell.image.changed", name, "info", name, b'{"id": "x"}')
        served.outbox.add(made.uid, [(letter, Fate.SEND)], now)
        served.outbox.dead_letter(served.outbox.next_due(made.uid, 1)[0], now, "answered 410 Gone")
    listed = (await served.send(token, "GET", f"{PATH}/ci/deadletters")).json["items"]
    assert [one["id"] for one in listed] == ["one", "two"]
    assert listed[0]["event"] == {"id": "x"}
    replay = f"{PATH}/ci/replay"
    assert (await served.send(token, "POST", replay, {"ids": ["two", "x"]})).json == {"replayed": 1}
    assert (await served.send(token, "POST", replay, {"ids": ["two"]})).json == {"replayed": 0}
    assert (await served.send(token, "POST", replay, {"all": True})).json == {"replayed": 1}


@pytest.mark.parametrize(
    "body", [{}, {"all": False}, {"ids": ["a"], "all": True}, {"ids": "a"}, {"ids": ["x" * 65]}]
)
async def test_a_replay_of_nothing_in_particular_is_refused(
    served: SubscriptionApi, body: dict[str, Any]
) -> None:
    token = await served.token("ada", "promoter@shop")
    await served.send(token, "POST", PATH, document())
    assert (await served.send(token, "POST", f"{PATH}/ci/replay", body)).status == 422
