"""Alerts and the dashboard of `deploy/monitoring` stand on metrics that there are."""

import json
import re

import pytest
import yaml
from tests.support.paths import ROOT

from upwell.cli.install.alerts import ALERTS, Alert
from upwell.cli.install.dashboard import dashboard
from upwell.cli.install.files import monitoring_files

METRICS = ROOT / "docs" / "metrics.md"
_OF_A_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def described() -> set[str]:
    """Return the metrics of docs/metrics.md, which a test of the server compares with it."""
    return set(re.findall(r"^\| `(upwell_\w+)`", METRICS.read_text(), re.MULTILINE))


def metrics_of(expression: str) -> set[str]:
    found = re.findall(r"\b(?:upwell|process)_\w+", expression)
    return {one.removesuffix("_bucket") for one in found}


def expressions() -> list[str]:
    found = json.loads(monitoring_files()["dashboard.json"])["panels"]
    return [target["expr"] for panel in found for target in panel.get("targets", ())]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {metric for one in expressions() for metric in metrics_of(one)}
    assert shown - _OF_A_PROCESS == described()


def test_each_query_is_of_the_chosen_job() -> None:
    for expression in expressions():
        selected = re.findall(r"\b(?:upwell|process)_\w+(\{job=~\"\$job\"\})?", expression)
        assert all(selected), expression


def test_panels_lie_beside_each_other_in_order() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_stands_on_metrics_and_names_labels_that_there_are(alert: Alert) -> None:
    asked = metrics_of(alert.expression)
    assert asked
    assert asked <= described()
    rows = [line for line in METRICS.read_text().splitlines() if line.startswith("| `upwell_")]
    labels = {
        label
        for row in rows
        if row.split("`")[1] in asked
        for label in re.findall(r"`(\w+)`", row.split("|")[2])
    }
    named = set(re.findall(r"\$labels\.(\w+)", alert.summary))
    assert named <= labels | {"job", "instance"}
    kept = re.search(r"by \(([^)]*)\)", alert.expression)
    assert kept is None or named <= {one.strip() for one in kept[1].split(",")}


def test_the_page_names_every_alert() -> None:
    told = set(re.findall(r"^\| `(Upwell\w+)`", METRICS.read_text(), re.MULTILINE))
    assert told == {alert.name for alert in ALERTS}


def test_prometheus_and_its_operator_get_the_same_rules() -> None:
    files = monitoring_files()
    rule = yaml.safe_load(files["prometheus-rule.yaml"])
    assert rule["spec"] == yaml.safe_load(files["alerts.yaml"])
