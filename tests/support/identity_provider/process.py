"""oidc-provider, an OpenID Connect provider that is certified, and people who sign in at it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
from tests.support.paths import ROOT
from tests.support.ports import free_port

_SCRIPT = Path(__file__).with_name("provider.mjs")
_LIBRARY = ROOT / ".tools/identity-provider/node_modules/oidc-provider/lib/index.js"
MISSING = "" if shutil.which("node") and _LIBRARY.exists() else "make identity-provider"
"""The command that installs what is missing; empty: nothing is."""
_FORM = re.compile(r"<form[^>]*>.*?</form>", re.DOTALL)
_INPUT = re.compile(r"<input[^>]*>")
_SECONDS = 120.0
_MOST_PAGES = 10


@dataclass
class RunningProvider:
    """A provider at a port of loopback, whose client `upwell` is sent back to `callback`."""

    callback: str
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Let it run, unless it does; nobody is there at first."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            ["node", str(_SCRIPT), str(_LIBRARY), str(self.port), self.callback],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert any("ready" in line for line in self._process.stdout)

    def kill(self) -> None:
        """End it, if it runs."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    async def put(self, person: str, *groups: str) -> None:
        """Have somebody be in these groups."""
        await self._change("PUT", f"{person}/{','.join(groups)}")

    async def remove(self, person: str) -> None:
        """Have somebody be nobody."""
        await self._change("DELETE", person)

    async def _change(self, method: str, path: str) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}/people/{path}") as response,
        ):
            assert response.status == 204


@contextmanager
def running_provider(callback: str) -> Iterator[RunningProvider]:
    """Run a provider whose client `upwell` is sent back to `callback`."""
    provider = RunningProvider(callback)
    try:
        provider.start()
        yield provider
    finally:
        provider.kill()


async def confirm(session: aiohttp.ClientSession, url: str, person: str) -> str:
    """Follow a page of the provider as a person, through all its forms; return the last page."""
    timeout = aiohttp.ClientTimeout(_SECONDS)
    async with session.get(url, timeout=timeout) as response:
        place, page = str(response.url), await response.text()
    for _ in range(_MOST_PAGES):
        form = next((one for one in _FORM.findall(page) if "/account" not in place), None)
        if form is None:
            return page
        fields = {**_fields(form)}
        fields |= {name: person for name in ("login", "password") if name in fields}
        target = urljoin(place, unescape(_attribute(form, "action")) or place)
        async with session.post(target, data=fields, timeout=timeout) as response:
            place, page = str(response.url), await response.text()
    raise AssertionError(f"no end of pages at {place}: {page}")


def _fields(form: str) -> dict[str, str]:
    found = {
        _attribute(one, "name"): unescape(_attribute(one, "value")) for one in _INPUT.findall(form)
    }
    return {name: value for name, value in found.items() if name}


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return found[1] if found is not None else ""
