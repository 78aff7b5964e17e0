"""Addresses as people write them: a URL, or host:port."""

from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

NODE_PORTS = range(30000, 32768)
"""Ports of the machine that Services may ask for, and are given (Kubernetes' default range)."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
METADATA_NETWORKS = tuple(
    map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32"))
)
"""Networks where clouds serve credentials: link-local, AWS over IPv6, Alibaba Cloud."""


def host_and_port(text: str) -> tuple[str, int] | None:
    """Return where a URL or `host:port` leads to; None when that is not said."""
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def is_http_url(text: str) -> bool:
    """Return True if the text is an absolute http or https URL."""
    return text.startswith(("http://", "https://")) and host_and_port(text) is not None


def http_url(address: str, wanted: str) -> str:
    """Return the URL of `wanted`, which is absolute or a path at `address`; empty without one."""
    if "://" in wanted:
        return wanted
    if not address:
        return ""
    base = address if "://" in address else f"http://{address}"
    return f"{base.rstrip('/')}/{wanted.lstrip('/')}" if wanted else base


def is_metadata_address(host: str) -> bool:
    """Return True if a literal address is in one of METADATA_NETWORKS."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in METADATA_NETWORKS)
