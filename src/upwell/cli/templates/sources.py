"""Templates from a manifest, or from the server by name."""

from pathlib import Path

from upwell.api.template import Template
from upwell.cli.core.connection import Session
from upwell.cli.core.documents import STDIN, load_manifests
from upwell.cli.core.errors import CommandError, Exit
from upwell.store.interface import ApiClient

_SUFFIXES = {".yaml", ".yml", ".json"}


def load_template(source: str, session: Session) -> Template:
    """Return the Template of a file, an http(s) URL, stdin (`-`) or, by name, of the server.

    A path is read as a file; anything else is a name in the session's namespace.
    Raises CommandError.
    """
    if source == STDIN or source.startswith(("http://", "https://")) or _is_file(source):
        return read_template(source, session)
    found: list[Template] = []

    async def work(client: ApiClient) -> None:
        found.append(await client.get(Template, session.namespace, source))

    session.run(work)
    return found[0]


def read_template(source: str, session: Session) -> Template:
    """Return the one Template of a manifest; raises CommandError."""
    loaded = load_manifests((source,), session, recursive=False, to_store=False)
    resources = [manifest.resource for manifest in loaded]
    templates = [resource for resource in resources if isinstance(resource, Template)]
    if len(templates) != 1 or len(resources) != 1:
        kinds = ", ".join(resource.KIND.kind for resource in resources)
        where = "stdin" if source == STDIN else source
        raise CommandError(f"{where}: expected one Template, found {kinds}", Exit.USAGE)
    return templates[0]


def _is_file(source: str) -> bool:
    path = Path(source)
    return "/" in source or path.suffix in _SUFFIXES or path.exists()
