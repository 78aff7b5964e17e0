import re
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from upwell.gitops.interface import Author
from upwell.policy.pruning.rules import Rules
from upwell.registry.hosts import PullFrom, RegistryHost, RegistryLimits, RegistryMirror
from upwell.settings import (
    DEFAULT_AUTHOR,
    MAX_FILE_BYTES,
    FileSettings,
    RetentionSettings,
    SettingsError,
    read_file,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upwell.toml"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    made = tmp_path / "ca.pem"
    made.write_text("-----BEGIN CERTIFICATE-----\n")
    return made


def test_a_whole_file_is_read(path: Path, authority: Path) -> None:
    text = """
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
        ca-file = "AUTHORITY"
        concurrency = 4
        per-second = 10

        [[registry]]
        prefix = "*.evil.example"
        blocked = true
    """
    path.write_text(text.replace("AUTHORITY", str(authority)))
    found = read_file(path)
    assert found.registries == (
        RegistryHost(
            "vendor.example",
            "10.0.0.5:5000",
            insecure=True,
            ca_file=authority,
            limits=RegistryLimits(4, 10.0),
        ),
        RegistryHost("*.evil.example", blocked=True),
    )
    assert found.import_interval == timedelta(minutes=90)
    assert found.upload_limit_bytes == 1536 * 1024**2
    assert found.allowed_host_paths == ("/srv/shared",)
    builds = found.builds
    assert (builds.user_namespaces, builds.host_network) == (False, True)
    assert (builds.memory_bytes, builds.processes) == (4 * 1024**3, 100)


def test_an_empty_file_sets_nothing(path: Path) -> None:
    path.touch()
    assert read_file(path) == FileSettings()


def test_builds_are_isolated_unless_the_administrator_says_otherwise(path: Path) -> None:
    path.write_text("[builds]\nmemory = '1Gi'\n")
    found = read_file(path).builds
    assert found.memory_bytes == 1024**3
    assert (found.user_namespaces, found.host_network) == (True, False)


def registry(line: str) -> str:
    return f'[[registry]]\nprefix = "vendor.example"\n{line}\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import-intervall = '5m'", "import-intervall: unknown key; did you mean import-interval?"),
        (
            "speed = 1",
            "speed: unknown key; known: allowed-devices, allowed-host-paths, audit, builds, disk",
        ),
        ("import_interval = '5m'", "import_interval: unknown key; did you mean import-interval?"),
        (
            "import-interval = 'soon'",
            'import-interval: expected a duration such as 5m .* not "soon"',
        ),
        ("import-interval = 5", "import-interval: expected a duration .*, not 5"),
        ("import-interval = ''", 'import-interval: expected a duration .*, not ""'),
        ("upload-limit = '1 GB'", 'upload-limit: expected a size such as 512Mi .*, not "1 GB"'),
        ("upload-limit = '0'", "upload-limit: expected a size"),
        ("upload-limit = 5", "upload-limit: expected a size"),
        ("allowed-host-paths = '/srv'", "allowed-host-paths: expected a list of paths"),
        (
            "allowed-host-paths = [1]",
            r"allowed-host-paths\[0\]: expected the path of a folder, not 1",
        ),
        (
            "[builds]\nhosts-network = true",
            r"builds\.hosts-network: unknown key; did you mean host-network\?",
        ),
        (
            "[builds]\nuser-namespaces = 1",
            r"builds\.user-namespaces: expected true or false, not 1",
        ),
        ("[builds]\nmemory = 'much'", r"builds\.memory: expected a size"),
        (
            "[builds]\nprocesses = 0",
            r"builds\.processes: expected a whole number, 1 or more, not 0",
        ),
        ("[registry]\nprefix = 'a'", r"registry: expected \[\[registry\]\] tables"),
        ("registry = [1]", r"registry\[0\]: expected a table, not 1"),
        ("[[registry]]\nlocation = 'a'", r"registry\[0\]\.prefix: missing, expected HOST"),
        ("[[registry]]\nprefix = ''", r"registry\[0\]\.prefix: expected HOST"),
        (
            "import-interval = '0s'",
            'import-interval: expected a duration such as .*, above 0, not "0s"',
        ),
        ("[[registry]]\nprefix = 'a b'", r"registry\[0\]: prefix 'a b' is no HOST"),
        (registry("location = 'http://a'"), r"registry\[0\]: location 'http://a' is no HOST"),
        (
            registry("ca-file = '/nowhere/ca.pem'"),
            r"registry\[0\]: ca-file /nowhere/ca.pem cannot be read: No such file",
        ),
        (
            registry("ca-file = '/etc/hostname'"),
            r"registry\[0\]: ca-file /etc/hostname holds no certificate in PEM",
        ),
        (
            "".join(f"[[registry]]\nprefix = '{prefix}'\n" for prefix in "aba"),
            r"several \[\[registry\]\] tables have the prefix a: put",
        ),
        ("[[registry]]\nprefix = '/'", r"registry\[0\]: a registry's prefix must not be empty"),
        (
            "[[registry]]\nprefix = '*.a'\nlocation = 'b'",
            r"registry\[0\]: \*\.a: a wildcard cannot have a location",
        ),
        (registry("proxy = 'x'"), r"registry\[0\]\.proxy: unknown key"),
        (registry("insecure = 'yes'"), r"registry\[0\]\.insecure: expected true or false"),
        (registry("blocked = 1"), r"registry\[0\]\.blocked: expected true or false"),
        (registry("location = 5"), r"registry\[0\]\.location: expected a text"),
        (registry("ca-file = true"), r"registry\[0\]\.ca-file: expected the path of a file"),
        (registry("concurrency = '4'"), r"registry\[0\]\.concurrency: expected a whole number"),
        (registry("concurrency = true"), r"registry\[0\]\.concurrency: expected .*, not true"),
        (registry("concurrency = 1.5"), r"registry\[0\]\.concurrency: expected a whole number"),
        (registry("concurrency = 0"), r"registry\[0\]\.concurrency: expected .* 1 or more, not 0"),
        (registry("per-second = nan"), r"registry\[0\]\.per-second: expected a number above 0"),
        (registry("per-second = true"), r"registry\[0\]\.per-second: expected a number"),
        (registry("per-second = -1"), r"registry\[0\]\.per-second: expected a number above 0"),
        ("a = ", "not TOML"),
        (f"a = {'9' * 5000}", "not TOML: Exceeds the limit"),
        (f"a = {'[' * 5000}", "not TOML: nested too deeply"),
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


def test_mirrors_are_locations_or_tables(path: Path, authority: Path) -> None:
    table = '{location = "10.0.0.6", insecure = true, ca-file = "CA", pulls = "digest-only"}'
    table = table.replace("CA", str(authority))
    path.write_text(registry(f'mirrors = ["mirror.example/vendor", {table}]'))
    (found,) = read_file(path).registries
    assert found.mirrors == (
        RegistryMirror("mirror.example/vendor"),
        RegistryMirror("10.0.0.6", insecure=True, ca_file=authority, pulls=PullFrom.DIGEST_ONLY),
    )


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("mirrors = 'a'", "mirrors: expected a list"),
        ("mirrors = [1]", r"mirrors\[0\]: expected a location or a table"),
        ("mirrors = ['']", r"mirrors\[0\]\.location: expected HOST"),
        (
            "mirrors = [{location = 'a', pulls = 'never'}]",
            r'mirrors\[0\]\.pulls: expected one of all, digest-only, tag-only, not "never"',
        ),
        ("mirrors = ['a b']", r"mirrors\[0\]: location 'a b' is no HOST"),
        ("mirrors = [{location = 'a', ca-file = '/nowhere'}]", r"ca-file /nowhere cannot be read"),
        ("mirrors = [{place = 'a'}]", r"mirrors\[0\]\.place: unknown key"),
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
        keep-pulled-images = "48h"
    """)
    found = read_file(path).retention
    rules = Rules(5, timedelta(hours=2), timedelta(hours=48))
    assert (found.interval, found.rules) == (None, rules)
    path.write_text("[retention]\nkeep-pulled-images = 'off'")
    assert read_file(path).retention.rules.keep_pulled_images is None
    path.write_text("[retention]\ninterval = '6h'")
    found = read_file(path).retention
    assert found == RetentionSettings(interval=timedelta(hours=6))
    assert found.rules.keep_pulled_images == timedelta(days=7)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("retention = 3", "retention: expected a table, not 3"),
        ("[retention]\nevery = '1h'", r"retention\.every: unknown key"),
        ("[retention]\ninterval = 'often'", r"retention\.interval: expected a duration"),
        ("[retention]\nkeep-tag-revisions = 0", r"retention\.keep-tag-revisions: .* 1 or more"),
        ("[retention]\nkeep-younger-than = '1m'", r"retention\.keep-younger-than: .* 10m or more"),
        ("[retention]\nkeep-pulled-images = '1m'", r"retention\.keep-pulled-images: .* or \"off\""),
    ],
)
def test_a_wrong_retention_is_named(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError, match=named):
        read_file(path)


def test_the_author_of_commits_is_read(path: Path) -> None:
    assert FileSettings().git.author == DEFAULT_AUTHOR
    path.write_text('[git]\nauthor = "Upwell of corner <upwell@corner.example>"')
    assert read_file(path).git.author == Author("Upwell of corner", "upwell@corner.example")
    path.write_text("[git]")
    assert read_file(path).git.author == DEFAULT_AUTHOR


@pytest.mark.parametrize("author", ["Upwell", "<a@b>", "Upwell <a b>", "Up\\nwell <a@b>"])
def test_an_author_without_name_or_mail_is_refused(path: Path, author: str) -> None:
    path.write_text(f'[git]\nauthor = "{author}"')
    with pytest.raises(SettingsError, match=r"git\.author: expected NAME <MAIL>, not "):
        read_file(path)


def test_all_faults_are_told_at_once(path: Path) -> None:
    path.write_text("""
        import-interval = 5
        [builds]
        processes = 0
        memori = "1Gi"
        [[registry]]
        prefix = "a"
        [[registry]]
        mirrors = ["b", {}]
    """)
    with pytest.raises(SettingsError) as caught:
        read_file(path)
    assert str(caught.value).splitlines() == [
        f"{path}: 5 settings are wrong",
        "  import-interval: expected a duration such as 5m or 1h30m, above 0, not 5",
        "  builds.processes: expected a whole number, 1 or more, not 0",
        "  builds.memori: unknown key; did you mean memory?",
        "  registry[1].prefix: missing, expected HOST[:PORT][/NAMESPACE] or *.HOST",
        "  registry[1].mirrors[1].location: missing, expected HOST[:PORT][/NAMESPACE]",
    ]


def test_a_long_value_is_cut_in_an_error(path: Path) -> None:
    path.write_text(f"import-interval = '{'x' * 1000}'")
    with pytest.raises(SettingsError) as caught:
        read_file(path)
    assert len(str(caught.value)) < 200 + len(str(path))


def test_an_empty_text_counts_as_absent_where_it_could_mean_nothing_else(path: Path) -> None:
    path.write_text("""
        upload-limit = ""
        builds.memory = ""
        tracing = {endpoint = "", service = ""}
        git.author = ""
        [[registry]]
        prefix = "a"
        ca-file = ""
        mirrors = [{location = "b", ca-file = "", pulls = ""}]
    """)
    host = RegistryHost("a", mirrors=(RegistryMirror("b"),))
    found = read_file(path)
    assert found.registries == (host,)
    assert found.model_copy(update={"registry": ()}) == FileSettings()


def test_settings_are_frozen() -> None:
    settings = FileSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.import_interval = timedelta(1)  # type: ignore[misc]


def test_of_endless_faults_the_first_are_named(path: Path) -> None:
    path.write_text("\n".join(f"key-{number} = 1" for number in range(1000)))
    with pytest.raises(SettingsError) as caught:
        read_file(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 1000 settings are wrong"
    assert (len(lines), lines[-1]) == (22, "  and 980 more")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('"" = 1', '"": unknown key; known: '),
        ('"a b" = 1', '"a b": unknown key; known: '),
        (f"{'k' * 5000} = 1", f'"{"k" * 59}…: unknown key; known: '),
    ],
)
def test_a_strange_key_is_shown_as_a_file_writes_it(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(named)):
        read_file(path)
