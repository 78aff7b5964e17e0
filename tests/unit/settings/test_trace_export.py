from pathlib import Path

import pytest

from upwell.settings import (
    FileSettings,
    SettingsError,
    TraceExport,
    TracingSettings,
    read_file,
    trace_export,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upwell.toml"


COLLECTOR = "http://collector.example:4318"


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, "https://file.example/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"{COLLECTOR}/"}, f"{COLLECTOR}/v1/traces"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other.example",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{COLLECTOR}/mine",
            },
            f"{COLLECTOR}/mine",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_traces_go_where_the_environment_says_or_else_the_file(
    path: Path, environment: dict[str, str], endpoint: str
) -> None:
    path.write_text('[tracing]\nendpoint = "https://file.example"\nservice = "corner"\n')
    assert trace_export(environment, read_file(path).tracing) == TraceExport(
        address=endpoint, service="corner"
    )


def test_no_traces_are_made_unless_somebody_wants_them() -> None:
    assert trace_export({}, FileSettings().tracing).address == ""


@pytest.mark.parametrize("address", ["collector:4317", "ftp://collector", "http://"])
def test_an_address_that_takes_no_traces_is_refused(path: Path, address: str) -> None:
    path.write_text(f'[tracing]\nendpoint = "{address}"\n')
    with pytest.raises(SettingsError, match=r"tracing\.endpoint: expected http://HOST:PORT"):
        read_file(path)
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT: expected"):
        trace_export({"OTEL_EXPORTER_OTLP_ENDPOINT": address}, TracingSettings())
