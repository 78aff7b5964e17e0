"""The network in which a program asks a registry: the machine's, or one that leads by the policy.

In that one nothing exists but a SOCKS server that connects by the policy, so that redirects, token
servers and names whose addresses change lead nowhere else.
"""

from dataclasses import dataclass

from upwell.machine.process import ChildCommand
from upwell.outbound.child_network import ChildNetwork

_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_NO_PROXY = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class RegistryNetwork:
    """The network of one pull or push."""

    child: ChildNetwork | None = None
    """None: the machine's own."""

    def enter(self, command: ChildCommand) -> ChildCommand:
        """Return the command as it runs inside."""
        if self.child is None:
            return command
        # Go has looked names up at the proxy by either name, and knew this one first.
        proxy = self.child.proxy.replace("socks5h://", "socks5://", 1)
        proxies = {**dict.fromkeys(_VARIABLES, proxy), **dict.fromkeys(_NO_PROXY, "")}
        environment = {**command.environment, **proxies}
        return ChildCommand(command.argv, environment, command.folder, self.child.namespace)
