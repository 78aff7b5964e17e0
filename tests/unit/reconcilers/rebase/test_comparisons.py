"""Comparisons of bases are kept within the memory that they may take, and by one at a time."""

import asyncio

from upwell.inventory.interface import EntryKind, LayerEntry, LayerFiles
from upwell.oci import Digest
from upwell.reconcilers.rebase.comparisons import BaseComparisons, compared

SMALL, LARGE = (
    LayerFiles(
        Digest.of(b""),
        {f"file{at}": LayerEntry(EntryKind.FILE, 0o644, 0, 0) for at in range(count)},
    )
    for count in (10, 1000)
)


def name(text: str) -> Digest:
    return Digest.of(text.encode())


async def keep(comparisons: BaseComparisons, base: str, layer: LayerFiles) -> None:
    async with comparisons.of(name(base), name("new")) as kept:
        assert kept.found is None
        kept.keep(compared([layer], [layer]), [layer, layer])


async def is_kept(comparisons: BaseComparisons, base: str) -> bool:
    async with comparisons.of(name(base), name("new")) as kept:
        return kept.found is not None


async def test_what_was_not_used_for_longest_goes_where_memory_is_short() -> None:
    comparisons = BaseComparisons(most=10, most_bytes=3 * SMALL.held_bytes() * 2)
    for base in "abc":
        await keep(comparisons, base, SMALL)
    assert await is_kept(comparisons, "a")
    await keep(comparisons, "d", SMALL)
    assert [await is_kept(comparisons, base) for base in "acdb"] == [True, True, True, False]


async def test_a_comparison_that_is_too_large_is_not_kept() -> None:
    comparisons = BaseComparisons(most=10, most_bytes=SMALL.held_bytes() * 4)
    await keep(comparisons, "large", LARGE)
    assert not await is_kept(comparisons, "large")
    await keep(comparisons, "small", SMALL)
    assert await is_kept(comparisons, "small")


async def test_without_a_bound_of_memory_their_number_counts() -> None:
    comparisons = BaseComparisons(most=2)
    for base in "abc":
        await keep(comparisons, base, LARGE)
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
                kept.keep(compared([SMALL], [SMALL]), [SMALL, SMALL])

    await asyncio.gather(*map(ask, range(5)))
    assert made == [0]
