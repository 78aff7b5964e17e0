from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from upwell.gitops.interface import Author
from upwell.policy.pruning.retention import Rules
from upwell.registry.hosts import PullFrom, RegistryHost, RegistryLimits, RegistryMirror
from upwell.settings import (
    DEFAULT_AUTHOR,
    MAX_FILE_BYTES,
    AccessSettings,
    BuildIsolation,
    FileSettings,
    RetentionSettings,
    ServerSettings,
    SettingsError,
    TracingSettings,
    read_file,
    tracing_from,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upwell.toml"


def test_a_whole_file_is_read(path: Path) -> None:
    path.write_text("""
        import-interval = "1h30m"
        upload-limit = "1536Mi"
        allowed-host-paths = ["/srv/shared"]

        [builds]
        user-namespaces = false
        host-network = true
        memory = "4Gi"
        processes = 100

        [[registry]]
        prefix = "vendor.example"
        location = "10.0.0.5:5000"
        insecure = true
        ca-file = "/etc/ssl/vendor.pem"
        concurrency = 4
        per-second = 10

        [[registry]]
        prefix = "*.evil.example"
        blocked = true
    """)
    assert read_file(path) == FileSettings(
        registries=(
            RegistryHost(
                "vendor.example",
                "10.0.0.5:5000",
                insecure=True,
                ca_file=Path("/etc/ssl/vendor.pem"),
                limits=RegistryLimits(4, 10.0),
            ),
            RegistryHost("*.evil.example", blocked=True),
        ),
        import_interval=timedelta(minutes=90),
        upload_limit=1536 * 1024**2,
        allowed_host_paths=("/srv/shared",),
        build_isolation=BuildIsolation(
            user_namespaces=False, host_network=True, memory=4 * 1024**3, processes=100
        ),
    )


def test_an_empty_file_sets_nothing(path: Path) -> None:
    path.touch()
    assert read_file(path) == FileSettings()


def test_builds_are_isolated_unless_the_administrator_says_otherwise(path: Path) -> None:
    path.write_text("[builds]\nmemory = '1Gi'\n")
    found = read_file(path).build_isolation
    assert found == replace(BuildIsolation(), memory=1024**3)
    assert (found.user_namespaces, found.host_network) == (True, False)


def registry(line: str) -> str:
    return f'[[registry]]\nprefix = "vendor.example"\n{line}\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import-intervall = '5m'", "unknown key 'import-intervall'; known: allowed-host-paths"),
        ("import-interval = 'soon'", "import-interval: 'soon' is not a duration"),
        ("import-interval = 5", "import-interval: expected a text"),
        ("upload-limit = '1 GB'", "upload-limit: '1 GB' is not a size such as 512Mi"),
        ("upload-limit = '0'", "upload-limit: '0' is not a size"),
        ("import-interval = ''", "import-interval: '' is not a duration"),
        ("allowed-host-paths = '/srv'", "allowed-host-paths: expected a list of texts"),
        ("allowed-host-paths = [1]", "allowed-host-paths: expected a list of texts"),
        ("[builds]\nnetwork = 'host'", "builds: unknown key 'network'"),
        ("[builds]\nuser-namespaces = 1", "builds: user-namespaces: expected true or false"),
        ("[builds]\nmemory = 'much'", "builds: memory: 'much' is not a size"),
        ("[builds]\nprocesses = 0", "builds: processes: expected 1 or more"),
        ("[registry]\nprefix = 'a'", r"registry: expected \[\[registry\]\] tables"),
        ("registry = [1]", r"registry: expected \[\[registry\]\] tables"),
        ("[[registry]]\nlocation = 'a'", r"registry\[0\]: a registry's prefix must not be empty"),
        (registry("proxy = 'x'"), r"registry\[0\]: unknown key 'proxy'"),
        (registry("insecure = 'yes'"), r"registry\[0\]: insecure: expected true or false"),
        (registry("blocked = 1"), r"registry\[0\]: blocked: expected true or false"),
        (registry("location = 5"), r"registry\[0\]: location: expected a text"),
        (registry("ca-file = true"), r"registry\[0\]: ca-file: expected a text"),
        (registry("concurrency = '4'"), r"registry\[0\]: concurrency: expected a whole number"),
        (registry("concurrency = true"), r"registry\[0\]: concurrency: expected a whole number"),
        (registry("concurrency = 1.5"), r"registry\[0\]: concurrency: expected a whole number"),
        (registry("concurrency = 0"), r"registry\[0\]: limits must be positive"),
        (registry("per-second = nan"), r"registry\[0\]: per-second: expected a number"),
        (registry("per-second = true"), r"registry\[0\]: per-second: expected a number"),
        (registry("per-second = -1"), r"registry\[0\]: limits must be positive"),
        ("a = ", "not TOML"),
        ("a = '\xff'", "not TOML"),
    ],
)
def test_a_fault_names_the_file_and_the_key(path: Path, text: str, named: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=named) as caught:
        read_file(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_beyond_the_limit_is_refused(path: Path) -> None:
    path.write_bytes(b"#" * MAX_FILE_BYTES)
    assert read_file(path) == FileSettings()
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(SettingsError, match="larger than 1048576 bytes"):
        read_file(path)


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_file(path)
    with pytest.raises(SettingsError, match="Is a directory"):
        read_file(path.parent)


def test_the_embedded_registry_is_named_by_the_servers_address_unless_it_is_told() -> None:
    here = ServerSettings(Path("data"), host="127.0.0.2", port=80)
    assert here.internal_host == "127.0.0.2:80"
    everywhere = ServerSettings(
        Path("data"), host="0.0.0.0", port=80, access=AccessSettings(tls=True)
    )
    assert everywhere.internal_host == "127.0.0.1:80"
    named = ServerSettings(Path("data"), registry_host="registry.example")
    assert named.internal_host == "registry.example"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "upwell.example.com"])
def test_tokens_are_not_sent_in_the_clear_unless_that_is_wanted(host: str) -> None:
    with pytest.raises(SettingsError, match=r"--tls.*--insecure-listen"):
        ServerSettings(Path("data"), host=host)
    for access in (
        AccessSettings(tls=True),
        AccessSettings(tls_cert=Path("c"), tls_key=Path("k")),
        AccessSettings(insecure_listen=True),
    ):
        assert ServerSettings(Path("data"), host=host, access=access).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "::1", "127.0.0.9"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert ServerSettings(Path("data"), host=host).host == host


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
def test_a_certificate_comes_with_its_key(missing: str) -> None:
    files: dict[str, Any] = {"tls_cert": Path("c"), "tls_key": Path("k")}
    files.pop(missing)
    with pytest.raises(SettingsError, match="both or neither"):
        ServerSettings(Path("data"), access=AccessSettings(**files))


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("127.0.0.1", ("127.0.0.1", "localhost")),
        ("localhost", ("localhost", "127.0.0.1")),
        ("0.0.0.0", ("127.0.0.1", "localhost", "[::1]")),
        ("10.0.0.1", ("10.0.0.1",)),
    ],
)
def test_commands_on_this_machine_know_the_server_by_its_hosts(
    host: str, names: tuple[str, ...]
) -> None:
    access = AccessSettings(insecure_listen=True)
    assert ServerSettings(Path("data"), host=host, access=access).local_names == names


def test_mirrors_are_locations_or_tables(path: Path) -> None:
    table = '{location = "10.0.0.6", insecure = true, ca-file = "/x.pem", pulls = "digest-only"}'
    path.write_text(registry(f'mirrors = ["mirror.example/vendor", {table}]'))
    (found,) = read_file(path).registries
    assert found.mirrors == (
        RegistryMirror("mirror.example/vendor"),
        RegistryMirror(
            "10.0.0.6", insecure=True, ca_file=Path("/x.pem"), pulls=PullFrom.DIGEST_ONLY
        ),
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("mirrors = 'a'", "mirrors: expected a list"),
        ("mirrors = [1]", r"mirrors\[0\]: expected a location or a table"),
        ("mirrors = ['']", "location must not be empty"),
        ("mirrors = [{location = 'a', pulls = 'never'}]", "'never' is not a valid PullFrom"),
        ("mirrors = [{place = 'a'}]", "unknown key 'place'"),
    ],
)
def test_a_wrong_mirror_is_named(path: Path, line: str, named: str) -> None:
    path.write_text(registry(line))
    with pytest.raises(SettingsError, match=named):
        read_file(path)


def test_retention_is_read_and_can_be_switched_off(path: Path) -> None:
    path.write_text("""
        [retention]
        interval = "off"
        keep-tag-revisions = 5
        keep-younger-than = "2h"
    """)
    rules = Rules(5, timedelta(hours=2))
    assert read_file(path).retention == RetentionSettings(None, rules)
    path.write_text("[retention]\ninterval = '6h'")
    assert read_file(path).retention == RetentionSettings(timedelta(hours=6))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("retention = 3", "retention: expected a table"),
        ("[retention]\nevery = '1h'", "retention: unknown key 'every'"),
        ("[retention]\ninterval = 'often'", "retention: interval"),
        ("[retention]\nkeep-tag-revisions = 0", "at least 1"),
        ("[retention]\nkeep-younger-than = '1m'", "at least 10m"),
    ],
)
def test_a_wrong_retention_is_named(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError, match=named):
        read_file(path)


def test_the_author_of_commits_is_read(path: Path) -> None:
    assert FileSettings().git_author == DEFAULT_AUTHOR
    path.write_text('[git]\nauthor = "Upwell of corner <upwell@corner.example>"')
    assert read_file(path).git_author == Author("Upwell of corner", "upwell@corner.example")
    path.write_text("[git]")
    assert read_file(path).git_author == DEFAULT_AUTHOR


@pytest.mark.parametrize("author", ["Upwell", "<a@b>", "Upwell <a b>", "Up\\nwell <a@b>"])
def test_an_author_without_name_or_mail_is_refused(path: Path, author: str) -> None:
    path.write_text(f'[git]\nauthor = "{author}"')
    with pytest.raises(SettingsError, match=r"git: author: .* is not NAME <MAIL>"):
        read_file(path)


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
    assert tracing_from(environment, read_file(path).tracing) == TracingSettings(endpoint, "corner")


def test_no_traces_are_made_unless_somebody_wants_them() -> None:
    assert tracing_from({}, FileSettings().tracing).endpoint == ""


@pytest.mark.parametrize("address", ["collector:4317", "ftp://collector", "http://"])
def test_an_address_that_takes_no_traces_is_refused(path: Path, address: str) -> None:
    path.write_text(f'[tracing]\nendpoint = "{address}"\n')
    with pytest.raises(SettingsError, match="endpoint: expected http://HOST:PORT"):
        read_file(path)
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT: expected"):
        tracing_from({"OTEL_EXPORTER_OTLP_ENDPOINT": address}, TracingSettings())
