"""Reviews of objects that are larger than a client may make them."""

import copy
import json

import pytest
from tests.support.cluster.admission_reviews import Document, review
from tests.support.server.asgi_requests import post
from tests.unit.server.cluster_access.test_admission import OWN, AskedWebhook, build_config, made

from upwell.api.schemas.webhooks import MUTATING, PATHS, VALIDATING
from upwell.api.waves.wave import APPROVAL_ANNOTATION
from upwell.server.cluster_access.outline import TooManyStepsError, without_parts

HISTORY = 30_000
"""Values of a status, beyond those that a client may send."""


@pytest.fixture
def webhook() -> AskedWebhook:
    return AskedWebhook()


def stream(**annotations: str) -> Document:
    source = {"kind": "DockerImage", "name": "vendor.test/debian:11"}
    found = made(
        "image.openshift.io/v1",
        "ImageStream",
        {"tags": [{"name": "11", "from": source}]},
        annotations=annotations,
    )
    return {**found, "status": {"tags": [{"tag": "11", "items": [{"image": ""}] * HISTORY}]}}


async def test_what_the_server_has_made_large_is_written_by_people_and_by_itself(
    webhook: AskedWebhook,
) -> None:
    old = stream()
    new = copy.deepcopy(old)
    new["spec"]["tags"].append({"name": "12", "from": new["spec"]["tags"][0]["from"]})
    stored, answer = await webhook.write(new, old)
    assert answer["allowed"], answer
    assert stored["metadata"]["annotations"]["upwell.dev/author"] == "system:cluster-user:ann"
    answers = [
        await webhook.ask(kind, review("UPDATE", new, old, user=OWN))
        for kind in (MUTATING, VALIDATING)
    ]
    assert all(one["response"]["allowed"] for one in answers)


async def test_it_is_deleted_by_who_may(webhook: AskedWebhook) -> None:
    for old, allowed in ((stream(), True), (stream(**{APPROVAL_ANNOTATION: "manual"}), False)):
        answer = await webhook.ask(VALIDATING, review("DELETE", None, old))
        assert answer["response"]["allowed"] is allowed


async def test_what_is_large_may_be_made_smaller_and_not_larger(webhook: AskedWebhook) -> None:
    large = build_config()
    large["spec"]["junk"] = [0] * 30_000
    smaller = copy.deepcopy(large)
    del smaller["spec"]["junk"]
    answer = await webhook.ask(VALIDATING, review("DELETE", None, large))
    assert answer["response"]["allowed"]
    _, written = await webhook.write(smaller, large)
    assert written["allowed"]
    for operation, old in (("CREATE", None), ("UPDATE", smaller)):
        refused = await post(webhook.app, PATHS[VALIDATING], review(operation, large, old))
        assert refused.code == 413


async def test_the_servers_own_account_writes_whatever_it_has_made(webhook: AskedWebhook) -> None:
    huge = build_config()
    huge["spec"]["junk"] = [0] * 60_000
    for operation, new in (("UPDATE", huge), ("DELETE", None)):
        answer = await webhook.ask(VALIDATING, review(operation, new, huge, user=OWN))
        assert answer["response"]["allowed"]
    refused = await post(webhook.app, PATHS[VALIDATING], review("UPDATE", huge, huge))
    assert refused.code == 413


async def test_a_wave_of_which_not_all_is_read_is_not_deleted(webhook: AskedWebhook) -> None:
    spec = {
        "image": "vendor.test/debian:11",
        "digest": f"sha256:{'a' * 64}",
        "previous": f"sha256:{'b' * 64}",
    }
    wave = made("upwell.dev/v1alpha1", "Wave", spec)
    del wave["metadata"]["namespace"]
    wave["status"] = {"held": [{"name": ""}] * 50_000}
    refused = (await webhook.ask(VALIDATING, review("DELETE", None, wave)))["response"]
    assert "too large to be judged" in refused["status"]["message"]


@pytest.mark.parametrize("place", ["system:serviceaccount:kube-system:evil", "ann"])
async def test_accounts_beside_those_that_delete_for_others_are_asked(
    webhook: AskedWebhook, place: str
) -> None:
    old = stream(**{APPROVAL_ANNOTATION: "manual"})
    groups = ("system:serviceaccounts", "system:serviceaccounts:kube-system")
    answer = await webhook.ask(VALIDATING, review("DELETE", None, old, user=place, groups=groups))
    assert answer["response"]["allowed"] is False


@pytest.mark.parametrize(
    "name",
    [
        "system:serviceaccount:kube-system:namespace-controller",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:kube-controller-manager",
    ],
)
async def test_what_deletes_for_others_is_not_asked(webhook: AskedWebhook, name: str) -> None:
    old = stream(**{APPROVAL_ANNOTATION: "manual"})
    answer = await webhook.ask(VALIDATING, review("DELETE", None, old, user=name))
    assert answer["response"]["allowed"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"a": {"s": "]}", "b": {"s": 1}}}', {"a": {"s": None, "b": {"s": 1}}}),
        ('{"a": {"s": [1, {"s": 2}], "b": 1}, "s": 3}', {"a": {"s": None, "b": 1}, "s": 3}),
        ('{"a": {"b": 1, "s": "x, \\"}"}}', {"a": {"b": 1, "s": None}}),
        ('{"a": {"\\u0073": {}, "s": 1}}', {"a": {"s": None}}),
        ('{"a": [{"s": 1}], "b": []}', {"a": [{"s": 1}], "b": []}),
        ('{"a": {"s": true}}', {"a": {"s": None}}),
        ('{"a": "{\\\\"}', {"a": "{\\"}),
        ("[1, 2]", [1, 2]),
    ],
)
def test_parts_are_left_out_wherever_they_stand(text: str, left: object) -> None:
    assert json.loads(without_parts(text.encode(), {("a", "s")})) == left


@pytest.mark.parametrize("text", ["", "}", '{"a": {"s": [1', ':::{"a"', '{"a": {"s": 1]}', '"'])
def test_what_is_no_json_stays_none(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(without_parts(text.encode(), {("a", "s")}))


def test_brackets_without_end_are_not_counted_for_long() -> None:
    for text in (b'{"a": {"s": ' + b"[" * 500_000, b"[" * 500_000):
        with pytest.raises(TooManyStepsError):
            without_parts(text, {("a", "s")})
