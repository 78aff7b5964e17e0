"""The commands' help: in step with docs/cli.md, complete, and quick to print."""

import socket
import subprocess
import sys

import click
import pytest
from tests.support.cli.reference import PAGE, commands_of, render

from upwell.cli import main
from upwell.cli.program import COMMANDS

_OWN = sorted(COMMANDS.keys() - {"serve", "demo", "doctor"})


def _commands() -> list[tuple[str, click.Command]]:
    found = []
    for name in _OWN:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        found.append((name, command))
        found += [(f"{name} {inner}", part) for inner, part in commands_of(command)]
    return found


def test_the_page_is_the_help() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.support.cli.reference"


@pytest.mark.parametrize(("name", "command"), _commands())
def test_each_command_has_examples_and_each_option_its_help(
    name: str, command: click.Command
) -> None:
    assert f"upwell {name}" in (command.epilog or "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            needs_default = not parameter.is_flag and not parameter.required
            if needs_default and not parameter.multiple:
                shown = parameter.show_default or "default" in parameter.help
                assert shown, parameter.name


@pytest.mark.parametrize("name", _OWN)
def test_the_list_of_commands_points_at_commands(name: str) -> None:
    assert COMMANDS[name].load().name == name


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (
            ["--help"],
            {
                "pydantic",
                "asyncio",
                "ssl",
                "aiohttp",
                "yaml",
                "upwell.app",
                "upwell.cli.objects.get",
            },
        ),
        (
            ["rebase", "127.0.0.1:1/app:1", "--insecure"],
            {"pydantic", "yaml", "rich", "yarl", "importlib.metadata", "zipfile"},
        ),
        (
            ["image", "mirror", "127.0.0.1:1/app:1", "127.0.0.1:1/copy:1", "--insecure"],
            {"pydantic", "aiohttp", "yarl", "yaml", "email", "importlib.metadata", "zipfile"},
        ),
    ],
)
def test_what_stands_alone_imports_no_model(arguments: list[str], heavy: set[str]) -> None:
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from upwell.cli import main\n"
        f"assert CliRunner().invoke(main, {arguments!r}).exit_code in (0, 1)\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []


_READERS = (
    "get pods",
    "delete pod/a",
    "describe pod/a",
    "explain deploy/a",
    "label pod/a b=c",
    "logs pod/a",
    "scale deploy/a --replicas 2",
    "start-build a",
    "status",
    "tag a b",
)
_HEAVY = {
    "aiohttp",
    "cryptography",
    "rich",
    "upwell.api.validation.objects",
    "upwell.formats.sigstore",
    "upwell.settings",
}


def test_commands_load_what_they_use() -> None:
    # Loading is nearly all that a short command takes: the rules of manifests, the libraries for
    # WebSockets, signatures and registries, and the server's settings are for those who need them.
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from upwell.cli import main\n"
        f"for command in {_READERS!r}:\n"
        "    asked = CliRunner().invoke(main, [*command.split(), '--server', sys.argv[1]])\n"
        "    assert 'is `upwell serve` running' in asked.output, (command, asked.output)\n"
        f"print(*sorted({_HEAVY!r} & set(sys.modules)))\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{free.getsockname()[1]}"

        done = subprocess.run(
            [sys.executable, "-c", script, server], capture_output=True, text=True, check=True
        )

    assert done.stdout.split() == []


def test_a_copy_loads_no_server() -> None:
    heavy = {"upwell.settings", "upwell.formats.sigstore", "upwell.api.validation.objects"}
    script = f"import sys, upwell.cli.images.image\nprint(*sorted({heavy!r} & set(sys.modules)))\n"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []
