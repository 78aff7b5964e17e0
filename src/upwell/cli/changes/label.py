"""`upwell label` and `upwell annotate`: change labels and annotations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click

from upwell.api.validation.labels import is_label_key, is_label_value
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.assignments import parse_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import kept
from upwell.cli.core.targets import TargetOptions, parse_targets, split_words, target_options
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient


@dataclass(frozen=True, slots=True)
class _Texts:
    """Labels or annotations to set and to remove."""

    field: str
    set: dict[str, str]
    removed: frozenset[str]
    overwrite: bool

    def __call__(self, document: Document) -> None:
        metadata = document.setdefault("metadata", {})
        texts = dict(metadata.get(self.field) or {})
        for key, value in self.set.items():
            if not self.overwrite and texts.get(key, value) != value:
                raise CommandError(
                    f"{key!r} already has a value ({texts[key]}), and --overwrite is not given"
                )
        kept_texts = {key: value for key, value in texts.items() if key not in self.removed}
        metadata[self.field] = {**kept_texts, **self.set}
        if not metadata[self.field]:
            del metadata[self.field]


def _texts(field: str, words: Sequence[str], *, overwrite: bool) -> _Texts:
    """Return the change that `KEY=VALUE` and `KEY-` describe; raises click.UsageError."""
    removed = frozenset(word[:-1] for word in words if word.endswith("-") and "=" not in word)
    given = [word for word in words if not (word.endswith("-") and "=" not in word)]
    wanted = parse_assignments("the command", given)
    for key, value in wanted.items():
        if not is_label_key(key) or (field == "labels" and not is_label_value(value)):
            raise click.UsageError(f"{key}={value} is no {field[:-1]}: see Kubernetes' syntax")
    if both := removed & wanted.keys():
        raise click.UsageError(f"{min(both)} is both set and removed")
    return _Texts(field, wanted, removed, overwrite)


def _command(name: str, field: str, done: tuple[str, str, str], *lines: str) -> click.Command:
    """Return the command that changes a field of metadata; `done` are the three outcomes."""
    what = field[:-1]

    def run(
        ctx: click.Context,
        words: tuple[str, ...],
        overwrite: bool,  # noqa: FBT001 - click passes options by name
        list_: bool,  # noqa: FBT001 - the same
    ) -> None:
        session: Session = ctx.ensure_object(Session)
        objects, changes = split_words(words)
        targets = parse_targets(session, kept(ctx, TargetOptions), objects)
        options = kept(ctx, WritingOptions)
        if list_ == bool(changes):
            raise click.UsageError(f"give {field} as KEY=VALUE or KEY-, or --list, not both")
        if list_:

            async def work(client: ApiClient) -> None:
                for resource in await targets.read(client):
                    for key, value in sorted(getattr(resource, field).items()):
                        echo(f"{key}={value}")

            session.run(work)
            return
        texts = _texts(field, changes, overwrite=overwrite)
        message = done[0] if texts.set else done[1]
        change_objects(session, targets, Wanted(texts, message, done[2]), options)

    run.__doc__ = f"""Set and remove {field} of objects.

    KEY=VALUE sets a {what}, KEY- removes one. A {what} with another value changes with --overwrite
    only.
    """.replace("a annotation", "an annotation").replace("A annotation", "An annotation")
    decorated: Callable[..., None] = click.pass_context(run)
    for add in (
        connection_options,
        write_options(local=True, resource_version=True),
        click.option(
            "--list", "list_", is_flag=True, help=f"Print the {field} instead of changing them."
        ),
        click.option("--overwrite", is_flag=True, help="Change values that are there."),
        target_options,
        click.argument("words", nargs=-1, metavar="KIND/NAME... KEY=VALUE|KEY-..."),
    ):
        decorated = add(decorated)
    return click.command(name, epilog=examples(*lines))(decorated)


label = _command(
    "label",
    "labels",
    ("labeled", "unlabeled", "not labeled"),
    "upwell label deployment/shop tier=web",
    "upwell label deployment shop tier=api --overwrite",
    "upwell label configmaps --all tier-",
    "upwell label service -l app=shop team=payments",
    "upwell label deployment/shop --list",
)
annotate = _command(
    "annotate",
    "annotations",
    ("annotated", "annotated", "annotated"),
    "upwell annotate deployment/shop owner='team payments'",
    "upwell annotate bc/shop upwell.dev/rebase=never --overwrite",
    "upwell annotate deployment shop owner-",
)
