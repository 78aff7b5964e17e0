"""Settings of registries for commands on images: their logins, and the words of a refusal."""

from upwell.cli.core.connection import Session
from upwell.cli.images.registry_settings import client_settings, error_text
from upwell.registry.errors import UnauthorizedError


def test_the_servers_own_registry_gets_its_token_over_verified_tls_alone() -> None:
    session = Session(server="https://upwell.test:7443", token="one")
    options = {"config": None, "insecure": False}

    logins = client_settings(session, options).logins
    assert {name: one.password for name, one in logins.items()} == {"upwell.test:7443": "one"}
    assert client_settings(session, {**options, "insecure": True}).logins == {}
    assert "one" not in repr(client_settings(session, options))


def test_a_refusal_names_the_login_that_helps_a_command() -> None:
    text = error_text(UnauthorizedError("upwell.test:7443/shop/app", "denied"))

    assert "podman login upwell.test:7443`" in text
    assert "`upwell login`" in text
    assert "Secret" not in text
