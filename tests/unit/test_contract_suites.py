"""Every port has a suite in tests/contract, which all its adapters and fakes pass.

A port is a Protocol in an `interface.py`, or in one of PORTS_ELSEWHERE. A class stands in for it
when it says so (as a base, by "Implements X", or in a test by the end of its name), or when it
has all its members, with the same arguments. Then a suite of the port names the class or its
factory (MADE_BY), or it is in BESIDE with the reason.
"""

import ast
import gc
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from tests.support.paths import ROOT

PORTS_ELSEWHERE = ("registry/hosting.py", "registry/origins.py")
FAULT = "a store of the suite, but for the fault that one test is about"
SERVER = "a server that is reached over HTTP, by the client of the suite"
PARTS = "one of the suite, with what works beside it: it is not used as the port"
BESIDE = {
    "_AwayWorkloads": "the fake of the suite, while the cluster that it is of is not away",
    "_BoundedWorkloads": "the adapter of the suite, each call in its turn and within a time",
    "_BoundedInstances": "the adapter of the suite, each call in its turn and within a time",
    "CutImage": "breaks in the middle of a layer, for the suite of inventories",
    "PersonClient": "the fake of the suite, but for the review of a person who signs in",
    "ContainerClient": "the fake of the suite, but for programs of this machine as containers",
    "RealProcess": "a program of this machine, for the client whose containers it is",
    "OneImageRegistry": "knows every name, so that nothing is unknown to it",
    "CountingStore": "the store in memory, which passes, and counts what is listed",
    "CountingRuntime": "the runtime in memory, which passes, and counts its lists",
    "DatabaseRuntime": "the runtime in memory, which passes, with the files of a claim on the disk",
    "ScriptedRuntime": "the runtime in memory, which passes, but for lists that a test wrote down",
    "CountedLogins": "no login, which the suite asks for as an empty chain, and counts questions",
    "FailingLogins": "a login that the first question does not get, which the test is about",
    "NotedInventory": "the inventory in memory, which passes, and notes whose packages it tells",
    "RefusingInputs": "the uploads of the suite, but that nothing is removed, as a test is about",
    "RacingStore": "the store in memory, which passes, and lets clients of a race write at once",
    "LocalStore": "what the stores in memory and in SQLite share, which pass",
    "ViewFeed": "shows views of what runs, in the API alone: nothing is written",
    "PodFeed": "shows what runs as Pods, in the API alone: nothing is written",
    "ProjectReader": "shows Namespaces as Projects, in the API alone: nothing is written",
    "ProjectAccounts": "shows accounts that nobody wrote, in the API alone: nothing is written",
    "HeldRegistry": "the registry in memory, which passes, and answers when a test lets it",
    "CheckedStreams": "shows when ImageStreams were checked, in the API alone: nothing is written",
    "RevisionReader": "shows revisions as ReplicaSets, in the API alone: nothing is written",
    "ScriptedRegistry": SERVER,
    "TokenRegistry": SERVER,
    "FaultyRegistry": SERVER,
    "GatedRegistry": "the registry of the suite, but for those whom it does not know",
    "LyingRegistry": "the registry of the suite, but for the lie that one test is about",
    "UnavailableRuntime": "answers nothing on purpose: what runs on a cluster is not known",
    "HangingRegistry": "hangs on purpose",
    "NarrowStore": "the store in memory, which passes, and lets two namespaces alone be read",
    "PartlyReadStore": "the store in memory, which passes, but for the list that a test is about",
    "PartOfACluster": "the store in memory, which passes, but that a kind may not be listed",
    "NothingToPrune": "has nothing on purpose: images lie in a registry that prunes its own",
    "HostedReads": "what registries that are served share, which pass",
    "ForwardingHosted": "what the registry that pulls through is, but for what it changes",
    "MirroredRegistry": PARTS,
    "Remotes": PARTS,
    "CachedStore": PARTS,
    "ControlledStore": PARTS,
    "TracedStore": PARTS,
    "BreakingStore": FAULT,
    "BusyStore": FAULT,
    "ContestedStore": FAULT,
    "CutStore": FAULT,
    "FailingWritesStore": FAULT,
    "FullStore": FAULT,
    "GuardedStore": FAULT,
    "JobRefusingStore": FAULT,
    "InterruptedStore": FAULT,
    "LeaseStore": FAULT,
    "MortalStore": FAULT,
    "OvertakenStore": FAULT,
    "ChangingSecretStore": FAULT,
    "ViewlessStore": "the store in memory, which passes, but that it lists no views",
    "StartingServer": FAULT,
}
"""Class -> why it need not pass the suite of the port that it stands in for."""

MADE_BY = {
    "GitClone": "GitRepositories",
    "NoticeSink": "Notices",
    "PodmanAttachment": "PodmanRuntime",
    "PodmanExecution": "PodmanRuntime",
    "ReceivingSink": "Receivers",
    "StubExecution": "StubRuntime",
    "WebhookSink": "Webhooks",
}
"""Class -> the one that makes it, which is a parameter of the suite of both their ports."""

type Arguments = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Class:
    """A class, and the module that defines it."""

    path: Path
    node: ast.ClassDef

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def bases(self) -> list[str]:
        names = [ast.unparse(base) for base in self.node.bases]
        return [name.partition("[")[0].rpartition(".")[2] for name in names]

    @cached_property
    def is_protocol(self) -> bool:
        return "Protocol" in self.bases

    @cached_property
    def is_of_tests(self) -> bool:
        return self.path.is_relative_to(ROOT / "tests")

    @cached_property
    def claims(self) -> set[str]:
        """Return what it says that it implements."""
        words = " ".join((ast.get_docstring(self.node) or "").split())
        return {*self.bases, *re.findall(r"\b[Ii]mplements (\w+)", words)}

    def own_members(self) -> Iterator[tuple[str, Arguments]]:
        """Yield what it defines; methods have their arguments, attributes and properties none."""
        for node in self.node.body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                    yield node.name, tuple(one.arg for one in given[1:])
                case ast.AnnAssign(target=ast.Name(id=name)):
                    yield name, ()
        for part in ast.walk(self.node):
            match part:
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    yield name, ()


@cache
def classes() -> list[Class]:
    """Return every class that a module of the tree defines."""
    modules = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    texts = [(path, path.read_text()) for path in modules]
    gc.disable()  # it would look through all that is parsed, which stays, again and again
    try:
        return [
            Class(path, node)
            for path, text in texts
            if "\nclass " in text  # to parse the others takes seconds
            for node in ast.parse(text).body
            if isinstance(node, ast.ClassDef)
        ]
    finally:
        gc.enable()


@cache
def by_name() -> Mapping[str, list[Class]]:
    found: dict[str, list[Class]] = {}
    for one in classes():
        found.setdefault(one.name, []).append(one)
    return found


@cache
def members(one: Class) -> Mapping[str, Arguments]:
    """Return what a class defines or inherits."""
    above = [name for name in one.bases if name != one.name]
    inherited = [base for name in above for base in by_name().get(name, [])]
    return {
        name: arguments for base in inherited for name, arguments in members(base).items()
    } | dict(one.own_members())


@cache
def ports() -> list[Class]:
    """Return every Protocol that is a port."""
    elsewhere = {ROOT / "src/upwell" / one for one in PORTS_ELSEWHERE}
    return [
        one
        for one in classes()
        if one.is_protocol and (one.path.name == "interface.py" or one.path in elsewhere)
    ]


def stands_in(one: Class, port: Class) -> bool:
    """Return True if a class says that it implements the port, or does."""
    wanted, given = members(port), members(one)
    if port.name in one.claims or (one.is_of_tests and one.name.endswith(port.name)):
        return True
    return all(
        name in given and given[name][: len(arguments)] == arguments
        for name, arguments in wanted.items()
    )


@cache
def in_place_of(port: Class) -> list[Class]:
    """Return the classes that stand in for a port."""
    return [one for one in classes() if not one.is_protocol and stands_in(one, port)]


@cache
def suites() -> list[set[str]]:
    """Return the names in each suite, with those of the fixtures that all share."""
    folder = ROOT / "tests/contract"
    shared = names(folder / "conftest.py")
    return [names(suite) | shared for suite in sorted(folder.rglob("test_*_contract.py"))]


def names(module: Path) -> set[str]:
    """Return the names that a module uses, imports apart."""
    tree = ast.parse(module.read_text())
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def extended(port: Class) -> set[str]:
    """Return a port's name, and those of the ports that extend it."""
    further = [one for one in ports() if port.name in one.bases]
    return {port.name}.union(*(extended(one) for one in further))


def without_suite(tested: Iterable[set[str]]) -> set[str]:
    """Return the ports that no suite names, nor an extension of them."""
    named = set[str]().union(*tested)
    return {port.name for port in ports() if not extended(port) & named}


def untested(port: Class, tested: Iterable[set[str]]) -> set[str]:
    """Return the classes that stand in for a port and that none of its suites names."""
    named = set[str]().union(*(one for one in tested if extended(port) & one))
    found = {one.name for one in in_place_of(port)}
    return {name for name in found if not {name, MADE_BY.get(name, name)} & named}


def test_every_port_has_a_suite() -> None:
    assert without_suite(suites()) == set()


def test_every_adapter_and_every_fake_is_in_the_suite_of_its_port() -> None:
    found = {port.name: sorted(untested(port, suites()) - BESIDE.keys()) for port in ports()}
    assert {port: missing for port, missing in found.items() if missing} == {}


def test_no_reason_stands_for_a_class_that_needs_none() -> None:
    found = set[str]().union(*(untested(port, suites()) for port in ports()))
    assert BESIDE.keys() - found == set()
    assert BESIDE.keys().isdisjoint(MADE_BY)
    assert {*MADE_BY, *MADE_BY.values()} <= by_name().keys()


def test_a_port_without_a_suite_is_found() -> None:
    assert {"Builder", "HostedRegistry", "Store", "Conversation"} <= without_suite([])
    only = [{"ApiClient"}]
    assert {"Builder", "Conversation"} <= without_suite(only)
    assert {"Reader", "Store", "ApiClient"}.isdisjoint(without_suite(only))


def test_a_class_that_is_in_no_suite_is_found() -> None:
    [registry] = [port for port in ports() if port.name == "Registry"]
    found = untested(registry, [{"Registry", "UpstreamRegistry"}, {"Store", "CachingRegistry"}])
    assert {"CachingRegistry", "CountedRegistry", "RegistryClient", "PullThroughRegistry"} <= found
    assert "UpstreamRegistry" not in found
