import ast
from pathlib import Path
from typing import Any

import pytest

import upwell
from upwell.oci.registry_names import OPENSHIFT_NAME
from upwell.settings import (
    AccessSettings,
    BuildIsolation,
    FileSettings,
    ServerSettings,
    SettingsError,
)
from upwell.settings.oidc import OidcSettings
from upwell.settings.registries import EmbeddedRegistrySettings, ExternalRegistrySettings
from upwell.settings.tables import ListenSettings


def test_the_embedded_registry_is_named_by_the_servers_address() -> None:
    here = ServerSettings(data_dir=Path("data"), host="127.0.0.2", port=80)
    assert here.internal_host == "127.0.0.2:80"
    everywhere = ServerSettings(
        data_dir=Path("data"), host="0.0.0.0", port=80, access=AccessSettings(tls=True)
    )
    assert everywhere.internal_host == "127.0.0.1:80"


def test_links_and_events_have_the_address_by_which_others_reach_the_server() -> None:
    inside = ServerSettings(
        data_dir=Path("data"),
        host="0.0.0.0",
        access=AccessSettings(tls=True),
        external_registry=ExternalRegistrySettings(prefix="registry.example/upwell"),
    )
    assert inside.public_url == inside.url == "https://127.0.0.1:7080"
    assert not inside.named_url
    pages = OidcSettings(issuer="https://id.example", client_id="upwell", url="https://up.example/")
    signed_in = inside.model_copy(update={"oidc": pages})
    assert signed_in.public_url == "https://up.example"
    told = ListenSettings(url="https://links.example")
    assert signed_in.model_copy(update={"listening": told}).public_url == "https://links.example"


def test_an_advertised_address_is_the_registrys_name_and_is_in_the_certificate() -> None:
    advertised = EmbeddedRegistrySettings(address="Upwell.Build.svc:443")
    served = ServerSettings(
        data_dir=Path("data"),
        host="0.0.0.0",
        access=AccessSettings(tls=True, tls_names=("api.example",)),
        embedded_registry=advertised,
    )
    assert served.internal_host == "upwell.build.svc"
    assert served.url == "https://upwell.build.svc"
    assert served.certificate_names == ("api.example", "upwell.build.svc")
    assert served.is_registry_verified
    for name in ("upwell.build.svc", "127.0.0.1:7080", "localhost:7080", OPENSHIFT_NAME):
        assert served.own_registry.is_named(name)
    plain = AccessSettings(insecure_listen=True)
    unencrypted = ServerSettings(data_dir=Path("data"), access=plain, embedded_registry=advertised)
    assert not unencrypted.is_registry_verified


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "upwell.example.com"])
def test_tokens_are_not_sent_in_the_clear_unless_that_is_wanted(host: str) -> None:
    with pytest.raises(SettingsError, match=r"--tls.*--insecure-listen"):
        ServerSettings(data_dir=Path("data"), host=host)
    for access in (
        AccessSettings(tls=True),
        AccessSettings(tls_cert=Path("c"), tls_key=Path("k")),
        AccessSettings(insecure_listen=True),
    ):
        assert ServerSettings(data_dir=Path("data"), host=host, access=access).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "::1", "127.0.0.9"])
def test_loopback_needs_no_tls(host: str) -> None:
    assert ServerSettings(data_dir=Path("data"), host=host).host == host


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key"])
def test_a_certificate_comes_with_its_key(missing: str) -> None:
    files: dict[str, Any] = {"tls_cert": Path("c"), "tls_key": Path("k")}
    files.pop(missing)
    with pytest.raises(SettingsError, match="both or neither"):
        ServerSettings(data_dir=Path("data"), access=AccessSettings(**files))


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
    assert ServerSettings(data_dir=Path("data"), host=host, access=access).local_names == names


def test_all_that_does_not_go_together_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        ServerSettings(
            data_dir=Path("data"), host="10.0.0.1", access=AccessSettings(tls_key=Path("k"))
        )
    assert len(caught.value.faults) == 2
    assert str(caught.value).startswith("2 settings are wrong\n  --tls-cert and --tls-key: ")


def read_by(owner: str, folder: Path) -> set[str]:
    """Return the attributes that the code below `folder` reads of an owner of this name."""
    texts = (path.read_text() for path in folder.rglob("*.py"))
    trees = (ast.parse(text) for text in texts if f"{owner}." in text)
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _ends_with(node.value, owner)
    }


def _ends_with(value: ast.expr, owner: str) -> bool:
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.endswith(owner)
        case _:
            return False


def test_every_setting_is_read() -> None:
    source = Path(upwell.__file__).parent
    app, cli = source / "app", source / "cli" / "serve"
    assert not ServerSettings.model_fields.keys() - read_by("settings", app)
    access = read_by("access", source) | read_by("self", source / "settings")
    assert not AccessSettings.model_fields.keys() - access
    assert not FileSettings.model_fields.keys() - {"registry"} - read_by("file", cli)
    assert not BuildIsolation.model_fields.keys() - read_by("isolation", app)
