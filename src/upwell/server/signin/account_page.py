"""The page of a person who is signed in: who they are here, and their sessions."""

from collections.abc import Iterable, Iterator
from html import escape

from upwell.policy.access.roles import grant_text
from upwell.server.auth.principals import Principal
from upwell.server.http.html import document
from upwell.server.signin.records import SessionRecord


def account_page(user: Principal, sessions: Iterable[SessionRecord], form: str) -> str:
    """Return the page; `form` is the text by which its forms are known to be of this page."""
    facts = {
        "Name": user.username,
        "Groups": ", ".join(user.groups) or "none",
        "Grants": ", ".join(map(grant_text, user.grants)),
    }
    rows = "".join(f"<tr><th>{name}<td>{escape(text)}</tr>" for name, text in facts.items())
    ordered = sorted(sessions, key=lambda one: one.created)
    parts = [
        "<h1>Upwell</h1>",
        f'<table class="facts">{rows}</table>',
        "<h2>Sessions</h2>",
        '<div class="wide"><table>',
        "<tr><th>Session<th>Where<th>Since<th>Last used<th>Ends<th></tr>",
        *_sessions(user, ordered, form),
        "</table></div>",
    ]
    return document("Account", "\n".join(parts))


def _sessions(user: Principal, sessions: Iterable[SessionRecord], form: str) -> Iterator[str]:
    for one in sessions:
        is_own = one.id == user.session
        where = "browser" if one.is_page else "command line"
        cells = (
            f"<code>{escape(one.id)}</code>",
            f"{where}, this one" if is_own else where,
            *(f"{time:%Y-%m-%d %H:%M} UTC" for time in (one.created, one.used, one.ends)),
            _button(one.id, "Sign out" if is_own else "End", form),
        )
        yield f"<tr>{''.join(f'<td>{cell}' for cell in cells)}</tr>"


def _button(session: str, text: str, form: str) -> str:
    return (
        f'<form method="post"><input type="hidden" name="form" value="{escape(form)}">'
        f'<button name="end" value="{escape(session)}">{text}</button></form>'
    )
