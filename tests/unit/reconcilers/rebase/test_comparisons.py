"""Comparisons of bases are kept, and made by one at a time."""

import asyncio

from upwell.inventory.interface import LayerFiles
from upwell.oci import Digest
from upwell.reconcilers.rebase.comparisons import BaseComparisons, compared

LAYER = LayerFiles(Digest.of(b""), {})


def name(text: str) -> Digest:
    return Digest.of(text.encode())


async def is_kept(comparisons: BaseComparisons, base: str) -> bool:
    async with comparisons.of(name(base), name("new")) as kept:
        return kept.found is not None


async def test_what_was_not_used_for_longest_goes() -> None:
    comparisons = BaseComparisons(most=2)
    for base in "abc":
        async with comparisons.of(name(base), name("new")) as kept:
            assert kept.found is None
            kept.found = compared([LAYER], [LAYER])
    assert [await is_kept(comparisons, base) for base in "cb"] == [True, True]
    assert not await is_kept(comparisons, "a")


async def test_one_makes_a_comparison_and_the_others_wait_for_it() -> None:
    comparisons = BaseComparisons()
    made: list[int] = []

    async def ask(number: int) -> None:
        async with comparisons.of(name("old"), name("new")) as kept:
            if kept.found is None:
                await asyncio.sleep(0)
                made.append(number)
                kept.found = compared([LAYER], [LAYER])

    await asyncio.gather(*map(ask, range(5)))
    assert made == [0]
