"""Table of all attacks: of clients of HTTP, of clients of a Pod, and of those who build."""

from collections.abc import Mapping

from tests.support.attacks.attacks import ATTACKS, Attack
from tests.support.attacks.rebases import REBASE_ATTACKS
from tests.support.attacks.streams import STREAM_ATTACKS

ALL_ATTACKS: Mapping[str, Attack] = {**ATTACKS, **STREAM_ATTACKS, **REBASE_ATTACKS}
