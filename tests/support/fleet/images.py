"""A fleet of images: what stands on what, where it is pushed, and how long its builds take."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import exp, log
from random import Random

from tests.support.fleet.registries import drawn


@dataclass(frozen=True, slots=True)
class FleetShape:
    """Sizes and shares of a fleet; all is drawn from `seed`."""

    images: int = 1_000
    registries: int = 30
    seed: int = 1
    platform: float = 0.02
    """Share of images that are a company's own bases, each on one of a vendor's."""
    runtimes: float = 0.1
    """Share of images that applications stand on, each on a company's base."""
    diamonds: float = 0.05
    """Share of applications that copy from a second runtime."""
    rebased: float = 0.0
    """Share of applications whose base is swapped in the registry, as that is safe."""
    external: float = 1.0
    """Share of images that are pushed to one of the registries; others stay in the server's."""
    broken: float = 0.005
    """Share of images whose build fails each time: their source is at fault."""
    slow: float = 0.01
    """Share of builds that take ten times as long."""
    running: float = 0.2
    """Share of images that a workload runs."""
    median_build: float = 90.0
    """Seconds; a tenth takes more than `slowest_tenth`."""
    slowest_tenth: float = 300.0


@dataclass(slots=True)
class ImageFleet:
    """Vendors' images by number, from 0 on, then the images that are built, each after its bases.

    Lists are by number.
    """

    shape: FleetShape
    bases: int
    parents: list[tuple[int, ...]] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    registry: list[int] = field(default_factory=list)
    """Number of the registry that it comes from, or is pushed to; -1: the server's own."""
    seconds: list[float] = field(default_factory=list)
    """Time that its build takes."""
    broken: set[int] = field(default_factory=set)
    rebased: set[int] = field(default_factory=set)
    running: set[int] = field(default_factory=set)

    def namespace(self, number: int) -> str:
        """Return the namespace of an image: each team has twenty."""
        return f"team{number // 20}"

    def built(self) -> Iterator[int]:
        """Yield the images that are built."""
        return iter(range(self.bases, len(self.parents)))


def made_fleet(shape: FleetShape) -> ImageFleet:
    """Return a fleet of that shape, the same each time."""
    chance = drawn(shape.seed)
    bases = max(shape.registries, shape.images // 100)
    fleet = ImageFleet(shape, bases)
    for number in range(bases):
        _add(fleet, (), number % shape.registries, 0.0)
    platform = max(1, round(shape.images * shape.platform))
    runtimes = max(1, round(shape.images * shape.runtimes))
    first, second = bases + platform, bases + platform + runtimes
    for number in range(bases, bases + shape.images):
        if number < first:
            parents: tuple[int, ...] = (_popular(chance, 0, bases),)
        elif number < second:
            parents = (_popular(chance, bases, first),)
        else:
            parents = _below(chance, shape, bases, first, second)
        outside = chance.random() < shape.external
        where = chance.randrange(shape.registries) if outside else -1
        _add(fleet, parents, where, _length(chance, shape))
        if chance.random() < shape.broken:
            fleet.broken.add(number)
        elif number >= second and chance.random() < shape.rebased:
            fleet.rebased.add(number)
        if chance.random() < shape.running:
            fleet.running.add(number)
    return fleet


def _below(
    chance: Random, shape: FleetShape, bases: int, first: int, second: int
) -> tuple[int, ...]:
    """Return what an application stands on: a vendor's image, a company's base, or a runtime."""
    share = chance.random()
    if share < 0.3:
        return (_popular(chance, 0, bases),)
    if share < 0.5:
        return (_popular(chance, bases, first),)
    runtime = _popular(chance, first, second)
    if chance.random() < shape.diamonds:
        other = _popular(chance, first, second)
        return (runtime, other) if other != runtime else (runtime,)
    return (runtime,)


def _popular(chance: Random, begin: int, end: int) -> int:
    """Return one of them, the earlier ones far more often."""
    return begin + int((end - begin) * chance.random() ** 3)


def _length(chance: Random, shape: FleetShape) -> float:
    spread = log(shape.slowest_tenth / shape.median_build) / 1.2816  # the 90 % point of a normal
    seconds = shape.median_build * exp(chance.gauss(0.0, spread))
    return seconds * (10 if chance.random() < shape.slow else 1)


def _add(fleet: ImageFleet, parents: tuple[int, ...], registry: int, seconds: float) -> None:
    number = len(fleet.parents)
    fleet.parents.append(parents)
    fleet.children.append([])
    fleet.registry.append(registry)
    fleet.seconds.append(seconds)
    for one in parents:
        fleet.children[one].append(number)
