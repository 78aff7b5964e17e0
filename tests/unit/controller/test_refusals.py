"""Times at which what was refused is tried again."""

from upwell.api.meta import ObjectKey
from upwell.controller.refusals import Refusals

WEB, OTHER = ObjectKey("Deployment", "shop", "web"), ObjectKey("Deployment", "shop", "other")


def test_what_is_refused_again_and_again_is_tried_ever_less_often() -> None:
    refusals = Refusals(jitter=lambda: 0)
    assert [refusals.note(WEB) for _ in range(7)] == [10, 20, 40, 80, 160, 300, 300]
    assert refusals.note(OTHER) == 10
    refusals.forget(WEB)
    assert refusals.note(WEB) == 10
