"""Folders that tests read: the project's own, and the material that is shared beside it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

SHARED = Path(os.environ.get("UPWELL_SHARED") or ROOT.parent / "shared")
"""Real manifests, payloads, advisories and images; elsewhere, UPWELL_SHARED names it."""
