"""The page of an approval link as HTML: it needs nothing from elsewhere, and runs no script."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from upwell.api.pipeline import Stage
from upwell.api.promotion import (
    CheckPhase,
    Component,
    Evidence,
    Promotion,
    PromotionPhase,
    Release,
)
from upwell.api.values.commits import short_commit
from upwell.policy.explain.freshness import short
from upwell.policy.promotion.approval import Agreement, approval_of
from upwell.policy.promotion.four_eyes import Involved, involved
from upwell.policy.promotion.requests import Known
from upwell.policy.promotion.stages import serving, upstream
from upwell.server.http.html import document

_FORM = """<form method="post">
<p><label>Comment, kept with your vote<br>
<textarea name="comment" rows="3" maxlength="2000"></textarea></label></p>
<p><button class="good" name="decision" value="approve">Approve</button>
<button class="bad" name="decision" value="reject">Reject</button></p>
<p><small>Rejecting keeps the release out of this stage and of every later one.</small></p>
</form>"""


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """Promotion that the page shows, and the approver to whom."""

    known: Known
    stage: Stage
    promotion: Promotion
    person: str

    @property
    def release(self) -> Release | None:
        """Release that is promoted; None when it is gone."""
        return self.known.releases.get(self.promotion.spec.release)

    @property
    def involved(self) -> Involved | None:
        """People whose approval alone is not enough; None: nobody asks whose it is."""
        known = self.known
        earlier = known.of_stage(self.stage)
        return involved(known.pipeline, self.stage, self.release, self.promotion, earlier)


def vote_page(view: ApprovalView) -> str:
    """Return the page of a Promotion: what is promoted, what shows that it is good, the vote."""
    spec = view.promotion.spec
    title = f"{spec.release} to {spec.stage}"
    parts = [
        f"<h1>Promote {escape(title)}?</h1>",
        *_facts(view),
        *_changes(view),
        *_upstream(view),
        *_votes(view),
    ]
    return document(title, "\n".join(parts))


def _facts(view: ApprovalView) -> Iterator[str]:
    spec, release = view.promotion.spec, view.release
    why = f": {spec.reason}" if spec.reason else ""
    facts = {
        "Pipeline": f"{view.promotion.namespace}/{spec.pipeline}",
        "Release": release.spec.cause if release is not None else "It does not exist any more.",
        "Asked for by": f"{spec.requested_by or 'Upwell'}{why}",
        "Emergency": spec.bypass,
    }
    yield '<table class="facts">'
    for name, text in facts.items():
        if text:
            yield f"<tr><th>{name}<td>{escape(text)}</tr>"
    yield "</table>"


def _changes(view: ApprovalView) -> Iterator[str]:
    if view.release is None:
        return
    live = view.known.releases.get(serving(view.known.of_stage(view.stage)).release)
    old = {one.name: one for one in live.spec.components} if live is not None else {}
    serves = f" ({escape(live.name)})" if live is not None else ""
    yield "<h2>What changes</h2>"
    yield '<div class="wide"><table>'
    yield f"<tr><th>Image<th>Serves now{serves}<th>Would serve<th>Commit</tr>"
    for component in view.release.spec.components:
        before = old.get(component.name)
        revision = escape(short_commit(component.revision))
        cells = (
            f"<b>{escape(component.name)}</b>",
            _digest(before.image if before is not None else ""),
            _digest(component.image),
            f"<code>{revision}</code>" if revision else "",
        )
        yield f"<tr>{''.join(f'<td>{cell}' for cell in cells)}</tr>"
        yield from _bases(before, component)
    yield "</table></div>"


def _bases(before: Component | None, component: Component) -> Iterator[str]:
    """Yield a row for each base image that differs."""
    old = {base.image: base.digest for base in before.bases} if before is not None else {}
    for base in component.bases:
        if old.get(base.image) != base.digest:
            was, comes = _digest(old.get(base.image, "")), _digest(base.digest)
            yield f"<tr><td>base {escape(base.image)}<td>{was}<td>{comes}<td></tr>"


def _digest(image: str) -> str:
    return f"<code>{escape(short(image))}</code>" if image else "nothing"


def _upstream(view: ApprovalView) -> Iterator[str]:
    rows = [
        row
        for name in upstream(view.known.pipeline, view.stage)
        for row in _checks(view, view.release, name)
    ]
    if rows:
        yield "<h2>What was tested before</h2>"
        yield '<div class="wide"><table>'
        yield "<tr><th>Stage<th>Check<th>Result<th>Message<th>Evidence</tr>"
        for row in rows:
            yield f"<tr>{''.join(f'<td>{cell}' for cell in row)}</tr>"
        yield "</table></div>"


def _checks(view: ApprovalView, release: Release | None, stage: str) -> Iterator[tuple[str, ...]]:
    """Yield the cells of the rows about a stage, as HTML."""
    verified = release.status.verified if release is not None else ()
    entry = next((one for one in verified if one.name == stage), None)
    if entry is None:
        yield escape(stage), "", '<span class="bad">not verified</span>', "", ""
        return
    evidence = next((p for p in view.known.promotions if p.name == entry.promotion), None)
    checks = evidence.status.checks if evidence is not None else ()
    if not checks:
        result = f'<span class="good">verified {entry.at:%Y-%m-%d %H:%M} UTC</span>'
        yield escape(stage), "", result, "", ""
    for check in checks:
        passed = check.phase is CheckPhase.PASSED
        flaky = ", not at the first attempt" if check.flaky else ""
        result = f'<span class="{"good" if passed else "bad"}">{check.phase}</span>{flaky}'
        shown = "<br>".join(map(_evidence, check.evidence))
        yield escape(stage), escape(check.name), result, escape(check.message), shown


def _evidence(piece: Evidence) -> str:
    """Return a link, or the name of what only holders of a token can fetch."""
    if not piece.url.startswith(("https://", "http://")):
        return escape(piece.name)
    return f'<a href="{escape(piece.url)}" rel="noreferrer">{escape(piece.name)}</a>'


def _votes(view: ApprovalView) -> Iterator[str]:
    status = view.promotion.status
    yield "<h2>Your vote</h2>"
    for vote in status.votes:
        verb = "approved" if vote.approved else "rejected"
        mark = "good" if vote.approved else "bad"
        comment = f": {vote.comment}" if vote.comment else ""
        text = f"{vote.by} {verb} {vote.at:%Y-%m-%d %H:%M} UTC{comment}"
        yield f'<p class="note {mark}">{escape(text)}</p>'
    if status.phase is not PromotionPhase.WAITING:
        yield f"<p>It is {escape(status.phase)} now: no vote is needed any more.</p>"
        return
    known = view.known
    found = approval_of(known.pipeline, view.stage, view.promotion, known.now, view.involved)
    until = f", until {found.until:%Y-%m-%d %H:%M} UTC" if found.until is not None else ""
    if found.agreement is Agreement.AGREED:
        yield f"<p>It is {escape(found.message)}, and begins when nothing else keeps it.</p>"
    elif found.message:
        yield f"<p>So far: {escape(found.message)}{until}.</p>"
    yield f"<p>You vote as <b>{escape(view.person)}</b>; a later vote replaces an earlier one.</p>"
    yield _FORM
