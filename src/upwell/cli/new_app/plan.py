"""Planner of `new-app`: from arguments to objects; reads the server, writes nothing."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from secrets import token_urlsafe
from typing import Any

from upwell.api.builds.config import BuildConfig
from upwell.api.codec import encode
from upwell.api.core import Secret
from upwell.api.defaults import DOCKER_IMAGE
from upwell.api.image import (
    ImageStream,
    ImageStreamImport,
    ImageStreamImportSpec,
    ImageStreamSpec,
    ImageStreamTag,
    ImportPolicy,
    ImportSpec,
    TagReference,
)
from upwell.api.meta import ObjectMeta, ObjectReference
from upwell.api.template import Template
from upwell.cli.new_app.clones import LocalClone, is_file, is_folder, read_clone, remote_clone
from upwell.cli.new_app.notes import about_commits, about_port, about_stages
from upwell.cli.new_app.options import NewAppOptions
from upwell.cli.objects.apply import FIELD_MANAGER
from upwell.cli.templates.values import expand
from upwell.git.interface import GitError
from upwell.policy.images.streams import StreamTag
from upwell.policy.new_app.application import (
    APP_LABEL,
    DEFAULT_PORT,
    Application,
    ApplicationBuild,
    StagePlace,
    parse_stages,
    parse_volumes,
)
from upwell.policy.new_app.builders import BASE, BUILDERS, PORT, LanguageBuilder
from upwell.policy.new_app.components import (
    NewAppComponent,
    NewAppError,
    NewAppStrategy,
    SourceRepository,
    application_name,
    checked_name,
    parse_component,
    parse_repository,
)
from upwell.policy.new_app.dockerfile import DockerfileFacts, exposed_port, read_dockerfile
from upwell.policy.new_app.images import FollowedImage, follow, names_tag
from upwell.policy.new_app.notices import notice_objects
from upwell.policy.new_app.objects import application_objects, webhook_secret_name
from upwell.policy.rollouts.volumes.written import about_declared, declared_volumes
from upwell.policy.templates.process import ProcessRequest
from upwell.store.interface import ApiClient, NotFoundError, Selector, StoreError

_SECRET_BYTES = 20
_ANY_BUILDER = "BUILDER"
EXAMINATION_SECONDS = 20
"""Time limit for the metadata of an image; without it the default port is assumed."""


@dataclass(slots=True)
class NewAppPlan:
    """Objects to create, and notes for the user."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    shared_streams: set[str] = field(default_factory=set)
    """Existing streams that get one more tag."""
    namespaces: set[str] = field(default_factory=set)
    """Namespaces of stages: those of objects that are not where the application is built."""
    notes: list[str] = field(default_factory=list)
    next_steps: list[str] = field(default_factory=list)
    webhooks: list[str] = field(default_factory=list, repr=False)
    """Paths of webhooks below the server's address, with their secrets."""


class NewAppPlanner:
    """Planner of one NewAppPlan for all arguments and options of a call."""

    def __init__(
        self, client: ApiClient, namespace: str, options: NewAppOptions, request: ProcessRequest
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._options = options
        self._request = request
        self._streams: dict[str, ImageStream] = {}
        self._existing: frozenset[str] = frozenset()
        self._plan = NewAppPlan()

    async def plan(self, components: Sequence[str], templates: Sequence[Template]) -> NewAppPlan:
        """Return the plan; raises NewAppError, CommandError or StoreError."""
        parts = len(components) + len(templates) + len(self._options.images)
        parts += len(self._options.templates) + len(self._options.image_streams)
        own_source = self._options.binary or bool(self._options.dockerfile)
        if parts == 0 and not own_source:
            raise NewAppError("name an image, a repository, BUILDER~REPOSITORY or a template")
        self._require_stages()
        if templates or self._options.templates:
            self._refuse_with_templates()
        if parts > 1 and self._options.name:
            raise NewAppError("--name needs a single application: create several one after another")
        listing = await self._client.list(ImageStream, Selector(self._namespace))
        self._streams = {stream.name: stream for stream in listing.items}
        self._existing = frozenset(self._streams)
        for template in templates:
            self._add_template(template)
        for name in self._options.templates:
            self._add_template(await self._client.get(Template, self._namespace, name))
        for image in self._options.images:
            await self._add_image(image)
        tags = [self._existing_tag(text) for text in self._options.image_streams]
        if own_source:
            self._add_own_source([*components, *tags])
        else:
            for tag in tags:
                await self._add_image(tag)
            for text in components:
                await self._add_component(text)
        self._plan.documents = _without_earlier_streams(self._plan.documents)
        return self._plan

    def _existing_tag(self, text: str) -> str:
        if not names_tag(text, self._streams):
            raise NewAppError(
                f"--image-stream {text}: namespace {self._namespace} has no such tag;"
                " `upwell get istag` lists the tags"
            )
        return text

    async def _add_component(self, text: str) -> None:
        if text.endswith((".yaml", ".yml", ".json")) and is_file(text):
            raise NewAppError(
                f"{text} is a file: `upwell apply -f {text}` takes manifests and Compose files,"
                f" `upwell new-app -f {text}` a Template"
            )
        if text.startswith(("./", "../", "/")) and not {"~", "#"} & {*text} and not is_folder(text):
            raise NewAppError(f"{text}: no such folder")
        builder, _, folder = ("", "", text) if is_folder(text) else text.partition("~")
        if is_folder(folder):
            clone = read_clone(folder)
            address = f"{clone.uri}#{clone.ref}" if clone.ref else clone.uri
            component = NewAppComponent(builder, parse_repository(address))
            await self._add_build(component, clone)
            return
        component = parse_component(text)
        if component.repository is not None:
            await self._add_remote(component, component.repository)
            return
        template = None if names_tag(text, self._streams) else await self._template(text)
        if template is None:
            await self._add_image(text)
        else:
            self._add_template(template)

    async def _add_remote(self, component: NewAppComponent, repository: SourceRepository) -> None:
        """Add the build of a repository, whose Dockerfile is looked for unless a builder is named.

        Without a look, what the user has said has to do.
        """
        if component.image or self._options.strategy is NewAppStrategy.SOURCE:
            await self._add_build(component, None)
            return
        async with AsyncExitStack() as stack:
            clone = None
            try:
                clone = await stack.enter_async_context(remote_clone(repository))
            except GitError as error:
                about = f"cannot look into {repository.uri}: {error}"
                if self._options.strategy is None:
                    raise NewAppError(
                        f"{about}; name its builder as BUILDER~REPOSITORY, or --strategy=docker"
                    ) from error
                self._plan.notes.append(about)
            await self._add_build(component, clone)

    def _require_stages(self) -> None:
        for option, given in (("--test", self._options.test), ("--approve", self._options.approve)):
            if given and not self._options.stages:
                raise NewAppError(f"{option} needs stages: name them with --stages")

    def _refuse_with_templates(self) -> None:
        for option, given, kind in (
            ("--stages", self._options.stages, "Pipeline"),
            ("--notify", self._options.notify, "Subscription"),
        ):
            if given:
                raise NewAppError(
                    f"{option} does not apply to templates: put a {kind} into the template"
                )

    async def _template(self, name: str) -> Template | None:
        if any(character in name for character in ":/@"):
            return None
        try:
            return await self._client.get(Template, self._namespace, name)
        except NotFoundError:
            return None

    def _add_template(self, template: Template) -> None:
        name = checked_name(self._options.name) if self._options.name else template.name
        processed = expand(template, self._request)
        self._plan.documents += [_labelled(document, name) for document in processed.objects]
        if processed.message:
            self._plan.notes.append(processed.message)

    def _add_own_source(self, components: Sequence[str]) -> None:
        """Add the build of uploads, or of a Dockerfile; a component is the image to build from."""
        options = self._options
        if len(components) > 1 or (options.binary and options.dockerfile):
            raise NewAppError("--binary and --dockerfile exclude each other, and take one image")
        image = components[0] if components else ""
        if not image and not options.name:
            raise NewAppError("nothing gives the build a name: use --name")
        facts = read_dockerfile(options.dockerfile) if options.dockerfile else DockerfileFacts()
        base = image or facts.base
        is_docker = bool(options.dockerfile) or not image
        strategy = NewAppStrategy.DOCKER if is_docker else NewAppStrategy.SOURCE
        name = application_name(options.name, NewAppComponent(image))
        build = ApplicationBuild(
            None,
            options.strategy or strategy,
            options.dockerfile,
            context_dir=options.context_dir,
            env=options.build_variables(),
            inputs=tuple(self._follow(other) for other in facts.others),
        )
        followed = self._follow(base) if base else None
        self._finish(replace(self._application(name, followed), build=build))
        if options.binary:
            self._plan.next_steps.append(
                f"`upwell start-build {name} --from-dir=. --follow` builds what is in a folder"
            )

    async def _add_image(self, image: str) -> None:
        if self._options.build_only:
            raise NewAppError(
                f"{image!r} is an image, and there is nothing to build from it: write"
                " IMAGE~REPOSITORY, or use --binary or --dockerfile"
            )
        followed = self._follow(image)
        name = application_name(self._options.name, NewAppComponent(image))
        app = self._application(name, followed)
        self._plan.next_steps.append(
            f"{name} starts once {followed.stream_tag} is imported, and again at each change of it"
        )
        metadata = await self._examine(followed)
        self._note_volumes(name, declared_volumes(metadata))
        self._finish(_with_port(app, exposed_port(metadata)))

    async def _add_build(self, component: NewAppComponent, clone: LocalClone | None) -> None:
        repository = component.repository
        if repository is None:
            raise NewAppError("a build needs a repository")
        dockerfile = clone.dockerfile(self._options.context_dir) if clone is not None else None
        language = clone.language(self._options.context_dir) if clone is not None else ""
        has_dockerfile = dockerfile is not None
        builder = BUILDERS.get(language)
        if builder is not None and not self._has_choice(component, has_dockerfile):
            component = replace(component, image=self._add_builder(builder))
        strategy = self._strategy(component, language, has_dockerfile=has_dockerfile)
        facts = DockerfileFacts()
        if strategy is NewAppStrategy.DOCKER and dockerfile is not None:
            facts = read_dockerfile(dockerfile)
        name = application_name(self._options.name, component)
        base = component.image or facts.base
        followed = self._follow(base) if base else None
        folders = (clone.context_dir if clone is not None else "", self._options.context_dir)
        build = ApplicationBuild(
            repository,
            strategy,
            context_dir="/".join(folder for folder in folders if folder),
            source_secret=self._options.source_secret,
            env=self._options.build_variables(),
            webhook_secret=await self._webhook_secret(name),
            follows_commits=self._options.follow_commits,
            inputs=tuple(self._follow(image) for image in facts.others),
        )
        if followed is None and not build.inputs:
            self._plan.notes.append(
                "the images of the Dockerfile are unknown here, so their changes do not start a"
                " build: name the image of its last FROM, as in"
                f" `upwell new-app IMAGE~{repository.uri} --strategy=docker`, or name a local clone"
            )
        made = builder is not None and component.image == f"{builder.name}:latest"
        port, volumes = PORT if made else facts.port, facts.volumes
        has_port = port is not None or self._options.port is not None
        if not has_port and followed is not None and not self._options.build_only:
            metadata = await self._examine(followed)
            port, volumes = exposed_port(metadata), (*volumes, *declared_volumes(metadata))
        if not self._options.build_only:
            self._note_volumes(name, volumes)
        app = _with_port(replace(self._application(name, followed), build=build), port)
        comes = "built" if made else "imported"
        waits = f" once {followed.stream_tag} is {comes}" if followed is not None else ""
        self._plan.next_steps.append(
            f"the first build starts{waits}: `upwell logs -f bc/{name}` follows it"
        )
        self._plan.next_steps += about_commits(app, build)
        if build.webhook_secret:
            kind = BuildConfig.KIND
            place = f"/apis/{kind.api_version}/namespaces/{self._namespace}/{kind.plural}/{name}"
            self._plan.webhooks += [
                f"{place}/webhooks/{build.webhook_secret}/{hook}" for hook in ("github", "generic")
            ]
        self._finish(app)

    def _has_choice(
        self,
        component: NewAppComponent,
        has_dockerfile: bool,  # noqa: FBT001 - a fact
    ) -> bool:
        """Return whether something else says by what to build."""
        given = self._options.strategy is not None or bool(component.image)
        return given or has_dockerfile

    def _add_builder(self, builder: LanguageBuilder) -> str:
        """Return the tag of the builder image of a language, which is made if it is not there.

        A stream that is called like the language may as well be the base of a Dockerfile.
        """
        if (other := self._builder_of(builder.language)) != _ANY_BUILDER:
            self._plan.notes.append(
                f"{other} is here too: if it is a builder image, write {other}~REPOSITORY"
            )
        if builder.name not in self._existing:
            base = self._follow(BASE)
            build = ApplicationBuild(
                None, NewAppStrategy.DOCKER, dockerfile=builder.dockerfile(BASE)
            )
            app = Application(builder.name, base, build=build, build_only=True)
            self._plan.documents += [encode(resource) for resource in application_objects(app)]
            self._plan.notes.append(
                f"{builder.language} source: bc/{builder.name} makes its builder image of {BASE}"
                " and Debian's packages, and makes it again when that changes"
            )
        # So that it is followed as a tag of this namespace, though no build has ended yet.
        self._streams[builder.name] = ImageStream(
            metadata=ObjectMeta(name=builder.name),
            spec=ImageStreamSpec(tags=(TagReference(name="latest"),)),
        )
        return f"{builder.name}:latest"

    async def _webhook_secret(self, application: str) -> str:
        """Return a new secret for webhooks; empty if the user may not create Secrets."""
        name = webhook_secret_name(application)
        document = encode(Secret(metadata=ObjectMeta(name=name, namespace=self._namespace)))
        try:
            await self._client.apply(document, field_manager=FIELD_MANAGER, dry_run=True)
        except StoreError as error:
            if error.reason != "Forbidden":
                raise
            self._plan.notes.append(f"{application} gets no webhooks: {error}")
            return ""
        return token_urlsafe(_SECRET_BYTES)

    def _strategy(
        self, component: NewAppComponent, language: str, *, has_dockerfile: bool
    ) -> NewAppStrategy:
        if self._options.strategy is not None:
            return self._options.strategy
        if component.image:
            return NewAppStrategy.SOURCE
        if has_dockerfile:
            return NewAppStrategy.DOCKER
        builder, looks = self._builder_of(language), f", and {language} source" if language else ""
        raise NewAppError(
            f"no builder for the repository, in which there is no Dockerfile{looks}: write"
            f" {builder}~REPOSITORY, or name the Dockerfile's folder with --context-dir, or"
            " --strategy=docker"
        )

    def _builder_of(self, language: str) -> str:
        """Return the tag of the namespace's stream for a language, else a word for one."""
        stream = self._streams.get(language)
        tags = [history.tag for history in stream.status.tags] if stream is not None else []
        if not tags:
            return _ANY_BUILDER
        return f"{language}:{'latest' if 'latest' in tags else tags[-1]}"

    def _application(self, name: str, followed: FollowedImage | None) -> Application:
        output = StreamTag.named(self._options.output, "") if self._options.output else None
        return Application(
            name,
            followed,
            output=f"{checked_name(output.stream)}:{output.tag}" if output else "",
            output_exists=output is not None and output.stream in self._existing,
            env=self._options.variables(),
            labels=self._request.labels,
            expose=self._options.expose,
            as_deployment_config=self._options.as_deployment_config,
            build_only=self._options.build_only,
            stages=self._stages(name),
            volumes=parse_volumes(self._options.volumes, name),
            test=self._options.test,
        )

    def _stages(self, name: str) -> tuple[StagePlace, ...]:
        if not self._options.stages:
            return ()
        return parse_stages(self._options.stages, name, self._options.approve)

    def _follow(self, image: str) -> FollowedImage:
        followed = follow(image, self._streams, self._options.imports)
        if followed.declared is not None:
            self._streams[followed.stream] = followed.declared
            if followed.stream in self._existing:
                self._plan.shared_streams.add(followed.stream)
        return followed

    def _finish(self, app: Application) -> None:
        if self._options.port is not None:
            app = _with_port(app, self._options.port)
        if app.port_is_assumed and not app.build_only:
            self._plan.notes.append(about_port(app))
        self._plan.namespaces.update(stage.namespace for stage in app.stages)
        self._plan.documents += [encode(resource) for resource in application_objects(app)]
        told = notice_objects(app, self._namespace, self._options.notify)
        self._plan.documents += [encode(resource) for resource in told]
        if app.stages:
            self._plan.next_steps += about_stages(app)
        elif app.expose:
            self._plan.next_steps.append(f"`upwell get route {app.name}` shows its address")

    def _note_volumes(self, name: str, paths: Iterable[str]) -> None:
        self._plan.notes += [about_declared(name, path) for path in sorted(set(paths))]

    async def _examine(self, followed: FollowedImage) -> Mapping[str, Any]:
        """Return the metadata of an image; empty, with a note, when it cannot be read now."""
        try:
            async with asyncio.timeout(EXAMINATION_SECONDS):
                return await self._metadata(followed)
        except (StoreError, TimeoutError) as error:
            why = str(error) or f"no answer in {EXAMINATION_SECONDS} s"
            self._plan.notes.append(f"cannot read the metadata of {followed.stream_tag}: {why}")
            return {}

    async def _metadata(self, followed: FollowedImage) -> Mapping[str, Any]:
        if not followed.imports:
            tag = await self._client.get(ImageStreamTag, self._namespace, followed.stream_tag)
            return _docker_metadata(tag.image)
        wanted = ImportSpec(
            from_=ObjectReference(kind=DOCKER_IMAGE, name=followed.imports),
            import_policy=ImportPolicy(insecure=self._options.insecure),
        )
        asked = await self._client.create(
            ImageStreamImport(
                metadata=ObjectMeta(name=followed.stream, namespace=self._namespace),
                spec=ImageStreamImportSpec(import_=False, images=(wanted,)),
            )
        )
        answer: dict[str, Any] = next(iter(asked.status.get("images") or ()), {})
        image = answer.get("image")
        if image is None:
            why = (answer.get("status") or {}).get("message") or "the server gave no reason"
            self._plan.notes.append(f"cannot read the metadata of {followed.imports}: {why}")
        return _docker_metadata(image or {})


def _with_port(app: Application, port: int | None) -> Application:
    return replace(app, port=port or DEFAULT_PORT, port_is_assumed=port is None)


def _labelled(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Add the label `app` to an object of a template, unless it has one."""
    metadata = document.get("metadata") or {}
    labels = {APP_LABEL: name, **(metadata.get("labels") or {})}
    return {**document, "metadata": {**metadata, "labels": labels}}


def _without_earlier_streams(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the documents without a stream that a later document has with more tags."""
    latest: dict[object, dict[str, Any]] = {}
    for at, document in enumerate(documents):
        shared = document["kind"] == ImageStream.KIND.kind and "tags" in document.get("spec", {})
        key = document["metadata"]["name"] if shared else at
        latest.pop(key, None)
        latest[key] = document
    return list(latest.values())


def _docker_metadata(image: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = image.get("dockerImageMetadata")
    return metadata if isinstance(metadata, Mapping) else {}
