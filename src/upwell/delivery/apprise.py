"""Messages for people through Apprise: mail, chat, and a hundred services more.

Apprise is loaded when the first message is sent. It blocks, so it runs in threads of its own; it
writes URLs with their passwords to its log, so that log goes nowhere.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from upwell.delivery.interface import DeliveryError, Envelope, InvalidTargetError
from upwell.outbound.blocking import judged
from upwell.outbound.policy import OutboundPolicy

_THREADS = 4
_SECONDS = 60.0
"""For one message to one address. Its thread may go on longer, until Apprise's own timeout."""
_MOST_ADDRESSES = 50
_MAX_TITLE = 200
_NEVER = logging.CRITICAL + 1
_NOTIFY_TYPES = {"info": "info", "warning": "warning", "error": "failure"}


class Notices:
    """Makes the sinks that write to people; `close` it."""

    def __init__(self, policy: OutboundPolicy, *, seconds: float = _SECONDS) -> None:
        """`policy` says to which addresses services may be."""
        self._policy = policy
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="notices")

    def close(self) -> None:
        """Start nothing any more; what is being sent is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def notice(self, urls: Sequence[str]) -> "NoticeSink":
        """Return the sink of Apprise URLs; raises InvalidTargetError."""
        check_urls(urls)
        return NoticeSink(urls, self._policy, self._threads, self._seconds)


class NoticeSink:
    """Writes to each of its addresses once, also when others fail."""

    def __init__(
        self,
        urls: Sequence[str],
        policy: OutboundPolicy,
        threads: ThreadPoolExecutor,
        seconds: float,
    ) -> None:
        self._urls = urls
        self._policy = policy
        self._threads = threads
        self._seconds = seconds

    async def send(self, envelope: Envelope, reached: frozenset[str] = frozenset()) -> str:
        """Write to those who are not in `reached`; raises DeliveryError."""
        have, failed = set(reached), []
        refused = ""
        for url in dict.fromkeys(self._urls):
            name = _fingerprint(url)
            if name in have:
                continue
            outcome = await self._write(url, envelope)
            if outcome.arrived:
                have.add(name)
            else:
                failed.append(url.partition("://")[0])
                refused = refused or outcome.refusal
        if failed:
            services = ", ".join(sorted(set(failed)))
            message = (
                f"Apprise did not reach {len(failed)} of {_count(len(self._urls))} ({services})"
            )
            if refused:
                message += f": {refused}"
            raise DeliveryError(message, reached=frozenset(have))
        return f"sent to {_count(len(self._urls))}"

    async def _write(self, url: str, envelope: Envelope) -> "_Outcome":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(
                    self._threads, _judged_notify, self._policy, url, envelope
                )
        except TimeoutError:
            return _Outcome(arrived=False)


@dataclass(frozen=True, slots=True)
class _Outcome:
    arrived: bool
    refusal: str = ""
    """Words for a destination that was refused to the service; empty: none was."""


def check_urls(urls: Sequence[str]) -> None:
    """Raise InvalidTargetError when these are no Apprise URLs, or too many."""
    if not urls:
        raise InvalidTargetError("it has no Apprise URL")
    if len(urls) > _MOST_ADDRESSES:
        raise InvalidTargetError(f"there are more than {_MOST_ADDRESSES} Apprise URLs in it")
    for number, url in enumerate(urls, start=1):
        if "://" not in url:
            raise InvalidTargetError(f"line {number} is not an Apprise URL, SERVICE://…")


def _count(addresses: int) -> str:
    return "1 address" if addresses == 1 else f"{addresses} addresses"


def _fingerprint(url: str) -> str:
    """Return what an address is remembered by, without its password."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _judged_notify(policy: OutboundPolicy, url: str, envelope: Envelope) -> _Outcome:
    """Write one message, connecting by the policy alone. Runs in a thread."""
    with judged(policy) as block:
        return _Outcome(_notify(url, envelope), next(iter(block.refusals), ""))


def _notify(url: str, envelope: Envelope) -> bool:
    """Write one message with Apprise; False when it did not arrive. Runs in a thread."""
    import apprise  # noqa: PLC0415 - loads a hundred plugins

    _silence()
    asset = apprise.AppriseAsset(
        app_id="Upwell",
        app_desc="Upwell",
        app_url="",
        async_mode=False,
        plugin_paths=[],
        pem_autogen=False,
        pgp_autogen=False,
    )
    try:
        service = apprise.Apprise.instantiate(url, asset=asset)
        if service is None:
            return False
        kind = apprise.NotifyType(_NOTIFY_TYPES.get(envelope.severity, "info"))
        text = {"body": _text(envelope), "title": _title(envelope)}
        return bool(service.notify(notify_type=kind, **text))
    except Exception:  # noqa: BLE001 - each plugin has errors of its own, with URLs in their texts
        return False


def _silence() -> None:
    """Keep what writes URLs to its log from doing so; paths are tokens at many services."""
    for name in ("apprise", "urllib3"):
        quiet = logging.getLogger(name)
        quiet.setLevel(_NEVER)
        quiet.propagate = False


def _title(envelope: Envelope) -> str:
    return f"{envelope.subject}: {envelope.type.removeprefix('dev.upwell.')}"[:_MAX_TITLE]


def _text(envelope: Envelope) -> str:
    """Return the message, and for a digest its lines."""
    lines = json.loads(envelope.body).get("data", {}).get("lines", ())
    return "\n".join([envelope.message, *map(str, lines)])
