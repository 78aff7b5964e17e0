"""Three services, as docs/five-minutes.md has them: followed, rolled back, told of, and back.

On demand, since it takes two minutes: `make faults` has it, and so has
`UPWELL_FAULT_STEPS=all pytest tests/acceptance/everyday/test_five_minutes.py`.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from tests.support.builds.base_images import serve_registry
from tests.support.delivery.http_receiver import HttpReceiver, receiving
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.postgresql_images import SPOIL, publish_postgresql
from tests.support.installation.python_images import publish_python
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish_script
from tests.support.paths import ROOT
from tests.support.ports import free_port

PAGE = ROOT / "docs" / "five-minutes.md"
SETTINGS = 'import-interval = "2s"\n[builds]\ncommit-interval = "10s"\n'
SITE = (
    "mkdir -p /www; echo site {0} > /www/index.html; trap 'exit 0' TERM;"
    " httpd -f -p 8080 -h /www & wait"
)
APP = """\
import http.server, platform

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
        self.wfile.write(f"{VERSION} on {name}\\n".encode())

VERSION = "app 1"
http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""
DOCKERFILE = 'COPY app.py /\nEXPOSE 8080\nCMD ["python3", "/app.py"]\n'
FAILED = {"dev.upwell.rollout.failed", "dev.upwell.rollout.rolledback"}
ROW = "SELECT word FROM kept"


@dataclass
class ThreeServices:
    """The installation, the vendor's registry, where the services are, and what was typed."""

    made: Installation
    vendor: ExitStack
    chat: HttpReceiver
    site_port: int = field(default_factory=free_port)
    database_port: int = field(default_factory=free_port)
    typed: list[str] = field(default_factory=list)

    async def upwell(self, *arguments: str) -> None:
        """Type a command; what it says is kept as the page has it."""
        done = await asyncio.to_thread(self.made.upwell, *arguments)
        assert done.returncode == 0, done.stderr
        self.typed += [f"$ upwell {' '.join(arguments)}", done.stdout.strip(), done.stderr.strip()]

    async def sql(self, text: str) -> str:
        """Return the answer of the database in its container."""
        psql = ("psql", "-h", "/tmp", "-U", "postgres", "-Atc", text)  # noqa: S108 - its socket's
        command = ("exec", "deployment/db", "--", *psql)
        return (await asyncio.to_thread(self.made.upwell, *command)).stdout.strip()

    def shown(self) -> str:
        """Return what was typed and said, with the addresses that the page has."""
        text = "\n".join(self.typed)
        for here, there in (
            (self.made.vendor, "registry.example"),
            (self.made.git, "https://git.example"),
            (self.chat.url, "https://chat.example/hook"),
            (self.made.url, "http://127.0.0.1:7080"),
            (str(self.site_port), "8080"),
            (str(self.database_port), "5432"),
            (str(self.made.router_port), "7088"),
        ):
            text = text.replace(here, there)
        return re.sub(r"(webhooks/)[\w-]{20,}", r"\1SECRET", text)

    async def answers(self, site: str, app: str) -> None:
        """Wait until the site and the application answer so."""
        await until(partial(answer, self.site_port, "localhost"), site.__eq__)
        await until(partial(answer, self.made.router_port, "app.default.localhost"), app.__eq__)

    async def told(self) -> set[str]:
        """Return what the chat was told of the database."""
        events = [json.loads(one.body) for one in self.chat.arrived]
        return {one["type"] for one in events if one["subject"].endswith("Deployment/db")}


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[ThreeServices]:
    settings = tmp_path / "upwell.toml"
    settings.write_text(SETTINGS)
    with ExitStack() as vendor:
        address = vendor.enter_context(contextmanager(serve_registry)(tmp_path))
        async with (
            installation("--config", str(settings), vendor=address) as made,
            receiving(port=made.spare_port()) as chat,
        ):
            yield ThreeServices(made, vendor, chat)


@on_demand(
    "tests/integration/reconcilers/test_rollouts_snapshots.py::"
    "test_the_version_before_serves_its_files_as_they_were",
    "tests/integration/workload/test_podman_snapshots.py::"
    "test_an_earlier_revision_finds_its_files_as_they_were",
    "tests/acceptance/faults/test_boot_without_network.py::"
    "test_what_ran_runs_again_and_the_service_manager_hears_of_it",
)
@pytest.mark.timeout(600)
async def test_three_services_are_followed_rolled_back_told_of_and_back_after_a_power_cut(
    three: ThreeServices,
) -> None:
    made, vendor = three.made, three.made.vendor
    await publish_script(vendor, "site:1", SITE.format(1), ExposedPorts={"8080/tcp": {}})
    await publish_python(vendor, "python:3", "1")
    await publish_postgresql(vendor, "postgres:17", "1")
    dockerfile = f"FROM {vendor}/python:3\n{DOCKERFILE}"
    made.commit("app", {"Dockerfile": dockerfile, "app.py": APP})

    notify = ("--notify", three.chat.url)
    place = f"{three.site_port}:8080"
    await three.upwell(
        "add", f"{vendor}/site:1", "--port", place, "--health", "/", *notify, "--wait"
    )
    volume, place = "db:/var/lib/db", f"127.0.0.1:{three.database_port}:5432"
    options = ("--name", "db", "--volume", volume, "--port", place, "--snapshot", *notify)
    await three.upwell("add", f"{vendor}/postgres:17", *options, "--wait")
    await three.upwell("new-app", f"{made.git}/app", "--expose", "--insecure-registry", "--wait")
    await three.answers("site 1", "app 1 on Vendor Linux 1")
    assert three.shown() in PAGE.read_text(), three.shown()
    await three.sql("CREATE TABLE kept AS SELECT 'here' AS word")
    assert await three.sql(ROW) == "here"

    await publish_script(vendor, "site:1", SITE.format(2), ExposedPorts={"8080/tcp": {}})
    await publish_python(vendor, "python:3", "2")
    await publish_postgresql(vendor, "postgres:17", "2", SPOIL)
    await three.answers("site 2", "app 1 on Vendor Linux 2")
    made.commit("app", {"app.py": APP.replace("app 1", "app 2")})
    await until(three.told, lambda kinds: bool(kinds & FAILED))
    await until(partial(three.sql, ROW), "here".__eq__)
    await three.answers("site 2", "app 2 on Vendor Linux 2")

    made.power_off(wipe_runtime=True)
    three.vendor.close()
    await made.start()
    await three.answers("site 2", "app 2 on Vendor Linux 2")
    await until(partial(three.sql, ROW), "here".__eq__)
