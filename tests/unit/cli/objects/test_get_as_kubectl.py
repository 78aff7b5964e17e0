"""`upwell get` and the Table that a server draws for kubectl have the same cells."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode
from upwell.cli.objects.table_style import TableStyle
from upwell.cli.objects.tables import Table
from upwell.server.http.tables import table

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
META = {"namespace": "shop", "name": "web", "creationTimestamp": "2026-11-26T11:14:50Z"}
AGE = "45m"
POD = {"containers": [{"name": "web", "image": "web:1"}]}


def both(api_version: str, kind: str, **fields: Any) -> tuple[list[Any], tuple[str, ...]]:
    """Return the cells of the server's Table, and those of `upwell get -o wide`."""
    resource = decode({"apiVersion": api_version, "kind": kind, "metadata": META, **fields})
    (row,) = table(resource.KIND, [resource], NOW)["rows"]
    return row["cells"], Table(resource.KIND, TableStyle(wide=True)).row(resource, NOW)


@pytest.mark.parametrize(
    ("api_version", "kind", "fields", "of_server"),
    [
        (
            "apps/v1",
            "Deployment",
            {"spec": {"replicas": 2, "template": {"spec": POD}}, "status": {"readyReplicas": 1}},
            ["web", "1/2", 0, 0, AGE, "<none>", "web", "web:1", "<none>"],
        ),
        (
            "batch/v1",
            "CronJob",
            {
                "spec": {
                    "schedule": "0 * * * *",
                    "suspend": True,
                    "jobTemplate": {"spec": {"template": {"spec": POD}}},
                },
                "status": {"lastScheduleTime": "2026-11-26T11:00:00Z"},
            },
            ["web", "0 * * * *", "<none>", True, "0", "60m", AGE, "web", "web:1", "<none>"],
        ),
        (
            "upwell.dev/v1alpha1",
            "Subscription",
            {
                "spec": {"webhook": {"url": "https://a.test"}},
                "status": {"delivered": 3, "lastDelivery": "2026-11-26T11:55:50Z"},
            },
            ["web", "<none>", 3, 0, 0, "4m10s", AGE, "https://a.test"],
        ),
        (
            "upwell.dev/v1alpha1",
            "Pipeline",
            {"spec": {"stages": [{"name": "dev"}, {"name": "live"}]}},
            ["web", "dev=-,live=-", "<none>", "<none>", AGE, "<none>"],
        ),
        (
            "build.openshift.io/v1",
            "Build",
            {"status": {"phase": "Running", "startTimestamp": "2026-11-24T11:00:00Z"}},
            ["web", "", "", "Running", "2 days ago", "2d1h", "<none>", AGE],
        ),
    ],
)
def test_both_surfaces_show_the_same_cells(
    api_version: str, kind: str, fields: dict[str, Any], of_server: list[Any]
) -> None:
    cells, texts = both(api_version, kind, **fields)

    assert cells == of_server
    assert [type(cell) for cell in cells] == [type(cell) for cell in of_server]
    assert list(texts) == ["true" if cell is True else str(cell) for cell in of_server]


def test_both_surfaces_have_the_same_columns_with_types_of_kubernetes() -> None:
    kind = decode({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": META}).KIND

    definitions = table(kind, (), NOW)["columnDefinitions"]

    assert [(one["name"].upper(), one["type"]) for one in definitions] == [
        ("NAME", "string"),
        ("SCHEDULE", "string"),
        ("TIMEZONE", "string"),
        ("SUSPEND", "boolean"),
        ("ACTIVE", "string"),
        ("LAST SCHEDULE", "date"),
        ("AGE", "date"),
        ("CONTAINERS", "string"),
        ("IMAGES", "string"),
        ("SELECTOR", "string"),
    ]
    assert Table(kind, TableStyle(wide=True)).header() == tuple(
        one["name"].upper() for one in definitions
    )


def test_what_a_clock_ahead_of_ours_has_just_written_has_no_age_yet() -> None:
    late = {"phase": "Running", "startTimestamp": "2026-11-26T12:00:03Z"}
    cells, texts = both("build.openshift.io/v1", "Build", status=late)
    assert cells[4:6] == list(texts[4:6]) == ["Less than a second ago", "0s"]
