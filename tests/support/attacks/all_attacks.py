"""Table of all attacks: of clients of HTTP, and of clients of a Pod."""

from collections.abc import Mapping

from tests.support.attacks.attacks import ATTACKS, Attack
from tests.support.attacks.streams import STREAM_ATTACKS

ALL_ATTACKS: Mapping[str, Attack] = {**ATTACKS, **STREAM_ATTACKS}
