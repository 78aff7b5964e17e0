"""Objects that `new-app` makes of one application."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from upwell.api.meta import Model, ObjectMeta
from upwell.api.pod_template import EnvVar
from upwell.policy.new_app.components import (
    NewAppError,
    NewAppStrategy,
    SourceRepository,
    checked_name,
)
from upwell.policy.new_app.images import FollowedImage

DEFAULT_PORT = 8080
APP_LABEL = "app"


@dataclass(frozen=True, slots=True)
class StagePlace:
    """One stage, and the namespace of what runs in it."""

    name: str
    namespace: str
    approval: bool = False
    """True if somebody has to approve what enters it."""


def parse_stages(
    text: str, application: str, approved: Collection[str] = ()
) -> tuple[StagePlace, ...]:
    """Return the stages of `dev,staging=NAMESPACE,…`; raises NewAppError.

    The namespace of a stage is APPLICATION-STAGE unless another is named; `approved` are those that
    need an approval.
    """
    places = []
    for part in text.split(","):
        name, given, namespace = part.strip().partition("=")
        if given and not namespace:
            raise NewAppError(f"--stages: {part.strip()!r} names no namespace after `=`")
        namespace = namespace or f"{application}-{checked_name(name)}"
        place = StagePlace(checked_name(name), checked_name(namespace), name in approved)
        places.append(place)
    names = [place.name for place in places]
    if strange := [name for name in approved if name not in names]:
        raise NewAppError(f"--approve {strange[0]}: no such stage; there are {', '.join(names)}")
    _refuse_twice("stage", names)
    _refuse_twice("namespace", (place.namespace for place in places))
    return tuple(places)


@dataclass(frozen=True, slots=True)
class ClaimPath:
    """A path of the containers that is kept in a claim."""

    claim: str
    path: str


def parse_volumes(texts: Iterable[str], application: str) -> tuple[ClaimPath, ...]:
    """Return the claims of `[NAME=]PATH`; raises NewAppError.

    The claim of a path has the names of the application and of its last folder.
    """
    found: list[ClaimPath] = []
    for text in texts:
        name, equals, path = text.rpartition("=")
        if not path.startswith("/") or path == "/" or (equals and not name):
            raise NewAppError(f"--volume {text}: write [NAME=]PATH, as in data=/var/lib/data")
        last = re.sub(r"[^a-z0-9]+", "-", path.rstrip("/").rpartition("/")[2].lower()).strip("-")
        claim = checked_name(name or f"{application}-{last or 'data'}")
        if any(claim == one.claim or path == one.path for one in found):
            raise NewAppError(f"--volume {text}: claim {claim} or its path is given twice")
        found.append(ClaimPath(claim, path))
    return tuple(found)


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise NewAppError(f"--stages: {what} {name} is given twice")
        seen.add(name)


@dataclass(frozen=True, slots=True)
class ApplicationBuild:
    """Build of the application's image."""

    repository: SourceRepository | None
    """None: what is uploaded when a build is started, or a Dockerfile alone."""
    strategy: NewAppStrategy
    dockerfile: str = ""
    """Text of the Dockerfile that is the whole source."""
    context_dir: str = ""
    source_secret: str = ""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    webhook_secret: str = field(default="", repr=False)
    """Secret in the address of the build's webhooks; empty: it has no webhooks."""
    follows_commits: bool = True
    """True if the server looks for commits of the repository."""
    inputs: tuple[FollowedImage, ...] = ()
    """Images besides the base that a Dockerfile takes something from."""


@dataclass(frozen=True, slots=True)
class Application:
    """Application for which objects are made."""

    name: str
    base: FollowedImage | None = None
    """Image that is built from, or run as it is; None when a Dockerfile alone says."""
    build: ApplicationBuild | None = None
    port: int = DEFAULT_PORT
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    expose: bool = False
    """True if a Route leads to the Service."""
    as_deployment_config: bool = False
    stages: tuple[StagePlace, ...] = ()
    """It goes through these, moved by a Pipeline; without them, it runs where it is built."""
    build_only: bool = False
    """True if nothing is to run the image."""
    output: str = ""
    """`NAME:TAG` to which the result is pushed; empty: `latest` of the stream with its name."""
    output_exists: bool = False
    """True if the stream of `output` is there already: it stays as it is."""
    volumes: tuple[ClaimPath, ...] = ()
    test: str = ""
    """Shell command that is run in each stage, in the application's own image."""
    port_is_assumed: bool = False
    """True if nothing said which port it is."""

    @property
    def all_labels(self) -> dict[str, str]:
        """Labels by which every object of it is found."""
        return {APP_LABEL: self.name, **self.labels}

    @property
    def metadata(self) -> ObjectMeta:
        """Of every object that has its name."""
        return ObjectMeta(name=self.name, labels=self.all_labels)

    @property
    def is_probed(self) -> bool:
        """True if it has to accept connections at its port to be ready.

        Without stages and a Route, an assumed port may be one at which a worker never listens.
        """
        return not self.port_is_assumed or self.expose or bool(self.stages)

    @property
    def port_name(self) -> str:
        """Of the port of its container and its Service."""
        return f"{self.port}-tcp"


def with_variables[M: Model](model: M, values: Mapping[str, str]) -> M:
    """Set `env`, if there is any: an empty list would stand in people's manifests."""
    if not values:
        return model
    env = tuple(EnvVar(name=name, value=value) for name, value in values.items())
    return model.model_copy(update={"env": env})
