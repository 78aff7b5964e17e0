"""A browser without a screen: it keeps cookies and shows what it is sent, redirects too."""

from dataclasses import dataclass, field
from http.cookies import SimpleCookie

import aiohttp
from tests.support.server.api_server import DEADLINE


@dataclass(frozen=True)
class Page:
    """An answer."""

    status: int
    text: str
    location: str
    cookies: dict[str, str]
    """As they were set, with their attributes."""


@dataclass
class Browser:
    """Cookies of one server."""

    session: aiohttp.ClientSession
    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Page:
        return await self._send("GET", path, None, headers)

    async def post(self, path: str, form: dict[str, str], **headers: str) -> Page:
        return await self._send("POST", path, form, headers)

    async def _send(
        self, method: str, path: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> Page:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        async with self.session.request(
            method,
            self.url + path,
            data=form,
            headers=sent,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(DEADLINE),
        ) as response:
            found = response.headers.getall("Set-Cookie", ())
            for text in found:
                self._keep(text)
            named = {text.partition("=")[0]: text for text in found}
            location = response.headers.get("Location", "")
            return Page(response.status, await response.text(), location, named)

    def _keep(self, text: str) -> None:
        for name, morsel in SimpleCookie(text).items():
            if morsel.value:
                self.cookies[name] = morsel.value
            else:
                self.cookies.pop(name, None)
