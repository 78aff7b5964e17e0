"""Sections of docs/troubleshooting.md, and the errors that each is about."""

import re
from collections.abc import Mapping

SECTIONS: Mapping[str, str] = {
    "http-and-https": r"speaks plain http|speaks https|certificate",
    "no-server": r"is `upwell serve` running",
    "tokens": r"refused the token|no token was sent|has expired|token .* may not|needs role",
    "full-disk": r"disk is full|disk or is full|no space left|DiskPressure",
    "ports": r"already in use|in use by process|is in use: stop|is taken|is held by the older",
    "manifests": r"not YAML|unknown field|unknown kind|no objects found in",
    "images": r"no manifest|cannot be pulled|is not available|HTTP response to HTTPS client",
    "builds": r"Dockerfile|remote ref|no builder for|cannot look into|assemble",
    "instances": r"has no instance|no shell|not found in \$PATH|ended again and again",
}
"""Anchor of a section, and the pattern of messages; the first that matches counts."""


def section_of(message: str) -> str:
    """Return the anchor of the section about an error; empty where there is none."""
    found = (name for name, pattern in SECTIONS.items() if re.search(pattern, message))
    return next(found, "")
