"""Repositories of the embedded registry that hold copies of upstream images.

`upstream/HOST/REPOSITORY` is the server's own: whatever anybody's login has fetched. Builds read
views of it, which hold what may be read: `upstream/public/…`, what was fetched without a login, and
`upstream/private/NAMESPACE/…`, what its source has given to that namespace. No host has these two
names: one has a dot or a port.
"""

ROOT = "upstream"
_PUBLIC, _PRIVATE = "public", "private"


def public_view(store: str) -> str:
    """Return where that part of the store's repository is which needs no login."""
    return f"{ROOT}/{_PUBLIC}/{store.removeprefix(f'{ROOT}/')}"


def private_view(store: str, namespace: str) -> str:
    """Return where that part of the store's repository is which a namespace has been given."""
    return f"{ROOT}/{_PRIVATE}/{namespace}/{store.removeprefix(f'{ROOT}/')}"


def is_public_view(repository: str) -> bool:
    """Return True for copies of what needs no login at its source."""
    return repository.startswith(f"{ROOT}/{_PUBLIC}/")


def store_of(repository: str) -> str:
    """Return the store's repository that a view is of; any other repository as it is."""
    match repository.split("/"):
        case [root, view, *rest] if root == ROOT and view == _PUBLIC:
            return "/".join((ROOT, *rest))
        case [root, view, _, *rest] if root == ROOT and view == _PRIVATE:
            return "/".join((ROOT, *rest))
        case _:
            return repository
