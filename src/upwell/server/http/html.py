"""Pages as HTML: they need nothing from elsewhere, and run no script."""

import base64
import hashlib
from collections.abc import Mapping
from html import escape

_STYLE = """
:root{color-scheme:light dark;--line:#8885;--good:#1a7f37;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--good:#3fb950;--bad:#f85149}}
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem 1rem .35rem 0;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:break-word}
.wide{overflow-x:auto}
th{font-weight:600;font-size:.9em;opacity:.75}
.facts th{width:9rem;white-space:nowrap}
code{font-size:.9em}small{opacity:.75}
.good{color:var(--good)}.bad{color:var(--bad)}
.note{border-left:4px solid var(--line);padding-left:.8rem;margin:.5rem 0}
textarea{width:100%;box-sizing:border-box;font:inherit}
button{font:inherit;font-weight:600;padding:.5rem 1.6rem;margin:0 .8rem 0 0;cursor:pointer;
border:2px solid;border-radius:.4rem;background:none}
button.good{background:var(--good);border-color:var(--good);color:#fff}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""The address of a page may be a secret: it goes into no cache and no Referer."""


def message_page(message: str) -> str:
    """Return a page that says one thing."""
    return document("Upwell", f"<h1>Upwell</h1>\n<p>{escape(message)}</p>")


def document(title: str, body: str) -> str:
    """Return a page; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)} - Upwell</title>\n<style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
