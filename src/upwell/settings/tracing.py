"""The receiver of traces: by OpenTelemetry's own variables, or else by the file."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from upwell.settings.errors import SettingsError
from upwell.settings.tables import TracingSettings, traces_address
from upwell.settings.values import is_http_address

_ENDPOINT, _TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


class TraceExport(BaseModel):
    """The receiver of traces; OpenTelemetry's SDK reads its other variables itself."""

    model_config = ConfigDict(frozen=True)

    address: str = ""
    """Takes traces, OTLP over HTTP; empty: none are made."""
    service: str = "upwell"


def trace_export(environment: Mapping[str, str], file: TracingSettings) -> TraceExport:
    """Return the receiver that OpenTelemetry's own variables name, or else the file.

    Raises SettingsError.
    """
    service = environment.get("OTEL_SERVICE_NAME") or file.service
    return TraceExport(address=_address(environment, file), service=service)


def _address(environment: Mapping[str, str], file: TracingSettings) -> str:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    if own := environment.get(_TRACES):
        return _checked(own, _TRACES)
    if common := environment.get(_ENDPOINT):
        return traces_address(_checked(common, _ENDPOINT))
    return file.address


def _checked(text: str, variable: str) -> str:
    if not is_http_address(text):
        raise SettingsError(f"{variable}: expected http://HOST:PORT or https://HOST:PORT")
    return text
