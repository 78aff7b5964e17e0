"""Standing of the clusters of stages, as `status` and `explain` tell it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from upwell.api.codec import decode
from upwell.api.meta import Resource
from upwell.cli.explain.status_tree import StatusTree
from upwell.policy.explain.changes import explain
from upwell.policy.explain.freshness import Snapshot

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def at(minute: int) -> str:
    return f"2026-03-01T12:{minute:02}:00Z"


def of(kind: str, name: str, **parts: Any) -> Resource:
    metadata = {"name": name, "namespace": "shop", "creationTimestamp": at(0)}
    return decode(
        {"apiVersion": "upwell.dev/v1alpha1", "kind": kind, "metadata": metadata, **parts}
    )


def pipeline(release: str = "", behind: Sequence[dict[str, str]] = ()) -> Resource:
    clusters = {"selector": {"matchLabels": {"env": "production"}}}
    stages = [{"name": "dev"}, {"name": "production", "namespace": "web", "clusters": clusters}]
    serves = {"name": "production", "release": release, "since": at(1), "behind": list(behind)}
    status = {"stages": [serves] if release else []}
    return of("Pipeline", "shop", spec={"stages": stages}, status=status)


def promotion(
    number: int,
    phase: str,
    minute: int,
    *,
    named: str = "",
    of_release: str = "",
    **clusters: tuple[str, str],
) -> Resource:
    """Return a Promotion into production; `clusters` are phases and messages.

    The Release that they have is not its own where it names another one `of_release`.
    """
    progress = [
        {
            "name": name,
            "release": f"shop-{number}",
            "phase": of,
            "message": why,
            "since": at(minute),
        }
        for name, (of, why) in clusters.items()
    ]
    release = of_release or f"shop-{number}"
    spec = {"pipeline": "shop", "release": release, "stage": "production"}
    status = {"phase": phase, "started": at(minute), "clusters": progress}
    return of("Promotion", named or f"shop-{number}.production", spec=spec, status=status)


DONE = ("Complete", "")
FIRST = promotion(1, "Succeeded", 1, east=DONE, west=DONE)
AWAY = promotion(2, "Succeeded", 9, east=DONE, west=("Away", "no route to host"))


def shown(*objects: Resource, namespace: str = "shop") -> list[str]:
    return list(StatusTree(Snapshot(objects), NOW, namespace).cluster_lines())


def test_status_tells_what_each_cluster_runs_and_since_when() -> None:
    rolling = promotion(
        2, "RollingOut", 9, east=("RollingOut", "1 of 2 updated"), west=("Waiting", "")
    )

    assert shown(pipeline(), FIRST) == [
        "stage production of pipeline shop/shop",
        "├─ cluster east runs shop-1, 29m ago",
        "└─ cluster west runs shop-1, 29m ago",
    ]
    assert shown(pipeline(), FIRST, namespace="web") == []
    assert shown(pipeline(), FIRST, rolling)[1:] == [
        "├─ ! cluster east runs shop-1; shop-2 is RollingOut: 1 of 2 updated, 29m ago",
        "└─ ! cluster west runs shop-1; shop-2 is Waiting, 29m ago",
    ]


def test_of_a_cluster_that_is_away_or_drifted_nobody_knows_what_it_runs() -> None:
    drifted = promotion(1, "Succeeded", 1, east=("Drifted", "Deployment web/web has app:2"))

    assert shown(pipeline(), FIRST, AWAY)[1:] == [
        "├─ cluster east runs shop-2, 21m ago",
        "└─ ! cluster west: shop-2 is Away: no route to host, 21m ago",
    ]
    assert shown(pipeline(), drifted)[1:] == [
        "└─ ! cluster east: shop-1 is Drifted: Deployment web/web has app:2, 29m ago"
    ]


def test_a_cluster_that_went_away_after_it_had_its_release_is_told_as_away_now() -> None:
    gone = {
        "name": "west",
        "release": "shop-1",
        "phase": "Away",
        "message": "no route to host",
        "since": at(20),
    }

    assert shown(pipeline("shop-1", behind=[gone]), FIRST)[1:] == [
        "├─ cluster east runs shop-1, 29m ago",
        "└─ ! cluster west: shop-1 is Away: no route to host, 10m ago",
    ]


def test_since_when_a_cluster_runs_a_release_outlasts_further_promotions_of_it() -> None:
    before = promotion(1, "Succeeded", 1, east=DONE, west=("Drifted", "app:2"))
    again = promotion(1, "Succeeded", 20, named="shop-1.production.2", east=DONE, west=DONE)

    assert shown(pipeline(), before, again)[1:] == [
        "├─ cluster east runs shop-1, 29m ago",
        "└─ cluster west runs shop-1, 10m ago",
    ]
    put_back = promotion(1, "Failed", 25, named="shop-2.production", of_release="shop-2", east=DONE)
    assert shown(pipeline(), before, again, put_back)[1:] == ["└─ cluster east runs shop-1, 5m ago"]


def test_the_tree_as_data_has_the_clusters() -> None:
    [_, west] = StatusTree(Snapshot([pipeline(), FIRST, AWAY]), NOW).data()["clusters"]

    assert west == {
        "pipeline": "shop/shop",
        "stage": "production",
        "cluster": "west",
        "release": "",
        "since": at(9),
        "newest": "shop-2",
        "phase": "Away",
        "message": "no route to host",
    }


def test_explain_tells_of_a_pipeline_what_serves_where() -> None:
    asked = pipeline("shop-1")

    told = [(one.depth, one.text) for one in explain(Snapshot([asked, FIRST]), asked)]

    assert told == [
        (0, "stage dev serves no release yet"),
        (0, "stage production serves shop-1"),
        (1, "cluster east runs shop-1"),
        (1, "cluster west runs shop-1"),
        (0, "nothing is wrong with it"),
    ]


def test_explain_tells_of_a_promotion_without_which_clusters_it_ended() -> None:
    told = [one.text for one in explain(Snapshot([pipeline(), AWAY]), AWAY)]

    assert told[-2:] == [
        "without cluster west, Away: no route to host",
        "it has succeeded; see `upwell pipeline status shop`",
    ]


def test_explain_tells_of_a_cluster_what_checks_lack_there() -> None:
    lacking = {"type": "ChecksAuthorized", "status": "False", "message": "the access lacks: x"}
    asked = of("Cluster", "east", status={"conditions": [lacking]})

    told = [one.text for one in explain(Snapshot([asked]), asked)]

    assert told == ["no check of kind job runs there: the access lacks: x"]
