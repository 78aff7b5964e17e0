"""Requests of Buildah to registries: as a plan says, or as a person's own configuration does."""

from pathlib import Path

from upwell.builder.commands import BuildahCommands, ImageStore
from upwell.builder.confinement.sandbox import UserIds
from upwell.machine.process import SYSTEM_PATH, ChildCommand, Launcher, LogSink, ProcessResult
from upwell.oci import Digest, Reference
from upwell.outbound.registry_network import RegistryNetwork

IMAGE = Reference.parse("registry.example/a:1")


class Recording(Launcher):
    """Starts nothing, and remembers what it was to start."""

    def __init__(self) -> None:
        super().__init__("test")
        self.commands: list[ChildCommand] = []

    async def run(self, command: ChildCommand, log: LogSink) -> ProcessResult:  # noqa: ARG002
        self.commands.append(command)
        _answer(command)
        return ProcessResult(0, "")


def _answer(command: ChildCommand) -> None:
    for word in command.argv:
        if word.startswith("--digestfile="):
            Path(word.partition("=")[2]).write_text(str(Digest.of(b"")))


async def asked(folder: Path, person: dict[str, str] | None) -> list[ChildCommand]:
    launcher = Recording()
    store = ImageStore(folder, folder, UserIds(launcher, SYSTEM_PATH, shifted=False))
    commands = BuildahCommands(launcher, store, {"PATH": SYSTEM_PATH}, person)
    network = RegistryNetwork()
    await commands.pull(IMAGE, folder, folder / "auth", insecure=False, network=network)
    await commands.push("id", IMAGE, folder, folder / "auth", insecure=False, network=network)
    return launcher.commands


async def test_a_plan_says_which_logins_count_and_nobodys_home_does(tmp_path: Path) -> None:
    for command in await asked(tmp_path, None):
        assert {f"--authfile={tmp_path / 'auth'}", "--tls-verify=true"} <= set(command.argv)
        assert command.environment["HOME"] == str(tmp_path)


async def test_a_persons_own_logins_and_registries_count_with_no_flag_before_them(
    tmp_path: Path,
) -> None:
    person = {"HOME": "/home/jo", "REGISTRY_AUTH_FILE": "/home/jo/auth.json"}
    for command in await asked(tmp_path, person):
        assert not any(word.startswith(("--authfile", "--tls-verify")) for word in command.argv)
        assert person.items() <= command.environment.items()
        assert command.environment["TMPDIR"] == str(tmp_path)
