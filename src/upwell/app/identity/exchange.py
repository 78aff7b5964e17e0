"""Opens the exchange of tokens that the settings describe."""

from contextlib import AsyncExitStack

from upwell.app.identity.providers import open_issuer
from upwell.machine import clock
from upwell.server.auth.service_accounts import AccountTokens
from upwell.server.exchange.exchange import TokenExchange
from upwell.settings import ServerSettings


async def open_exchange(
    settings: ServerSettings, accounts: AccountTokens, stack: AsyncExitStack
) -> TokenExchange | None:
    """Open it until the stack ends; None without a rule. Raises OSError."""
    tables = settings.token_exchange
    if not tables:
        return None
    files = {table.issuer: table.ca_file for table in tables}
    issuers = {
        url: (await open_issuer(settings, url, ca_file, stack)).issuer
        for url, ca_file in files.items()
    }
    return TokenExchange([table.rule for table in tables], issuers, accounts, clock.now)
