"""`upwell approval-link`: lists the approval links of a promotion, and revokes them."""

import click

from upwell.api.codec import decode_as
from upwell.api.meta import format_time
from upwell.api.promotion import ApprovalLink, Promotion
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.machine import clock
from upwell.store.interface import ApiClient


@click.group(
    name="approval-link",
    epilog=examples(
        "upwell approval-link list shop-7.production",
        "upwell approval-link revoke shop-7.production ada",
    ),
)
def approval_link() -> None:
    """List and revoke approval links."""


@approval_link.command(name="list", epilog=examples("upwell approval-link list shop-7.production"))
@click.argument("promotion")
@connection_options
@click.pass_obj
def list_links(session: Session, promotion: str) -> None:
    """List the approval links of a promotion: id, voter, maker, end, state."""

    async def work(client: ApiClient) -> None:
        found = await client.get(Promotion, session.namespace, _name(promotion))
        for link in found.status.links:
            words = (link.id, link.person, link.by, format_time(link.expires), _state(link))
            echo("  ".join(words))

    session.run(work)


@approval_link.command(
    epilog=examples(
        "upwell approval-link revoke shop-7.production 5f0c1d2e3a4b",
        "upwell approval-link revoke shop-7.production ada",
    )
)
@click.argument("promotion")
@click.argument("link", metavar="ID|VOTER")
@connection_options
@click.pass_obj
def revoke(session: Session, promotion: str, link: str) -> None:
    """Revoke one approval link, or all of a voter; a vote that was given stands."""

    async def work(client: ApiClient) -> None:
        name = _name(promotion)
        answer = await client.call(
            "DELETE", Promotion, session.namespace, name, "links", {"link": link}
        )
        left = decode_as(Promotion, answer).status.links
        revoked = [one.id for one in left if link in {one.id, one.person} and one.revoked]
        echo(f"promotion/{name}: revoked {', '.join(revoked)}")

    session.run(work)


def _name(promotion: str) -> str:
    return promotion.removeprefix("promotion/")


def _state(link: ApprovalLink) -> str:
    if link.revoked is not None:
        return f"revoked {format_time(link.revoked)}"
    return "expired" if link.expires <= clock.now() else "open"
