"""The page of an approval link as HTML: it needs nothing from elsewhere, and runs no script."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

from upwell.api.pipeline import Stage
from upwell.api.promotion import Component, Promotion, PromotionPhase, Release
from upwell.policy.promotion.approval import approval_of
from upwell.policy.promotion.requests import Known
from upwell.policy.promotion.stages import serving, upstream
from upwell.policy.standing import short

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;vertical-align:top}
code{font-size:.9em}textarea{width:100%;box-sizing:border-box;font:inherit}
button{font:inherit;padding:.5rem 1.5rem;margin:.8rem .8rem 0 0;cursor:pointer}
.note{border-left:4px solid #888;padding-left:.8rem}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""The address of the page is a secret: it goes into no cache and no Referer."""
_FORM = """<form method="post">
<p><label>Comment<br><textarea name="comment" rows="3" maxlength="2000"></textarea></label></p>
<p><button name="decision" value="approve">Approve</button>
<button name="decision" value="reject">Reject</button></p>
</form>"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the page is about, and for whom."""

    known: Known
    stage: Stage
    promotion: Promotion
    person: str


def vote_page(seen: Seen) -> str:
    """Return the page of a Promotion: what is promoted, what shows that it is good, the vote."""
    spec = seen.promotion.spec
    title = f"{spec.release} to {spec.stage}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Pipeline <b>{escape(f'{seen.promotion.namespace}/{spec.pipeline}')}</b></p>",
        *_release(seen),
        *_upstream(seen),
        *_votes(seen),
    ]
    return _document(title, "\n".join(parts))


def message_page(message: str) -> str:
    """Return a page that says one thing."""
    return _document("Upwell", f"<h1>Upwell</h1>\n<p>{escape(message)}</p>")


def _release(seen: Seen) -> Iterator[str]:
    release = seen.known.releases.get(seen.promotion.spec.release)
    if release is None:
        yield "<p>The release does not exist any more.</p>"
        return
    if release.spec.cause:
        yield f"<p>{escape(release.spec.cause)}</p>"
    into = seen.known.of_stage(seen.stage)
    live = seen.known.releases.get(serving(into).release)
    old = {one.name: one for one in live.spec.components} if live is not None else {}
    yield "<h2>What changes</h2>"
    yield "<table><tr><th>component<th>serves now<th>comes<th>commit</tr>"
    for component in release.spec.components:
        before = old.get(component.name)
        cells = (
            escape(component.name),
            _image(before),
            _image(component),
            f"<code>{escape(component.revision[:12])}</code>" if component.revision else "",
        )
        yield f"<tr>{''.join(f'<td>{cell}' for cell in cells)}</tr>"
    yield "</table>"


def _image(component: Component | None) -> str:
    return f"<code>{escape(short(component.image))}</code>" if component is not None else "nothing"


def _upstream(seen: Seen) -> Iterator[str]:
    release = seen.known.releases.get(seen.promotion.spec.release)
    rows = [
        row
        for name in upstream(seen.known.pipeline, seen.stage)
        for row in _checks(seen, release, name)
    ]
    if rows:
        yield "<h2>What was tested before</h2>"
        yield "<table><tr><th>stage<th>check<th>result<th>message</tr>"
        for row in rows:
            yield f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}</tr>"
        yield "</table>"


def _checks(seen: Seen, release: Release | None, stage: str) -> Iterator[tuple[str, ...]]:
    verified = release.status.verified if release is not None else ()
    entry = next((one for one in verified if one.name == stage), None)
    if entry is None:
        yield stage, "", "not verified", ""
        return
    evidence = next((p for p in seen.known.promotions if p.name == entry.promotion), None)
    checks = evidence.status.checks if evidence is not None else ()
    if not checks:
        yield stage, "", f"verified {entry.at:%Y-%m-%d %H:%M} UTC", ""
    for check in checks:
        flaky = ", not at the first attempt" if check.flaky else ""
        yield stage, check.name, f"{check.phase}{flaky}", check.message


def _votes(seen: Seen) -> Iterator[str]:
    status = seen.promotion.status
    yield "<h2>Your vote</h2>"
    for vote in status.votes:
        verb = "approved" if vote.approved else "rejected"
        comment = f": {vote.comment}" if vote.comment else ""
        text = f"{vote.by} {verb} {vote.at:%Y-%m-%d %H:%M} UTC{comment}"
        yield f'<p class="note">{escape(text)}</p>'
    if status.phase is not PromotionPhase.WAITING:
        yield f"<p>It is {escape(status.phase)} now: no vote is needed any more.</p>"
        return
    found = approval_of(seen.stage.approval, seen.promotion, seen.known.now)
    if found.message:
        yield f"<p>It waits: {escape(found.message)}.</p>"
    yield f"<p>You vote as <b>{escape(seen.person)}</b>; a later vote replaces an earlier one.</p>"
    yield _FORM


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)} - Upwell</title>\n<style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
