"""The server's configuration, read once at start: from options, the environment and one file.

Durations are timedeltas, sizes bytes. Nothing here is changed once it is read.
"""

from upwell.settings.builds import BuildIsolation
from upwell.settings.errors import SettingsError
from upwell.settings.file import MAX_FILE_BYTES, read_file
from upwell.settings.kubernetes import KubernetesSettings, ServerPlatform
from upwell.settings.server import AccessSettings, ServerSettings
from upwell.settings.tables import (
    DEFAULT_AUTHOR,
    AuditSettings,
    DiskSettings,
    FileSettings,
    ListenSettings,
    LocalAdmin,
    QuotaSettings,
    RetentionSettings,
    TracingSettings,
)
from upwell.settings.tracing import TraceExport, trace_export
from upwell.settings.values import parse_size

__all__ = [
    "DEFAULT_AUTHOR",
    "MAX_FILE_BYTES",
    "AccessSettings",
    "AuditSettings",
    "BuildIsolation",
    "DiskSettings",
    "FileSettings",
    "KubernetesSettings",
    "ListenSettings",
    "LocalAdmin",
    "QuotaSettings",
    "RetentionSettings",
    "ServerPlatform",
    "ServerSettings",
    "SettingsError",
    "TraceExport",
    "TracingSettings",
    "parse_size",
    "read_file",
    "trace_export",
]
