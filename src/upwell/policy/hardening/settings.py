"""Checks of the settings with which a server runs; pure."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from upwell.api.values.addresses import METADATA_NETWORKS
from upwell.policy.access.roles import Role
from upwell.policy.firewall.table import NetworkIsolation
from upwell.policy.hardening.findings import Flaw, FlawSeverity, HardeningCheck
from upwell.policy.hardening.folder import open_file
from upwell.policy.hardening.installation import ServerState

type _Network = IPv4Network | IPv6Network

_MACHINE = (
    *("/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys"),
    *("/usr/bin", "/usr/lib", "/usr/sbin", "/var/lib/containers"),
)
"""Folders of a machine that are as good as root there."""
_WILDCARDS = frozenset({"0.0.0.0", "::", "[::]"})  # noqa: S104 - names them, binds nothing
_WIDEST = {4: 16, 6: 48}
"""Prefix below which a network is more than a place, by version of IP."""
_ENCRYPTED_EXPORTS = ("https://", "syslog+tls://", "unix://")


def _tls(state: ServerState) -> Iterator[Flaw]:
    settings = state.settings
    if not (settings.tls or settings.on_loopback):
        yield Flaw(
            FlawSeverity.FAIL,
            settings.url,
            "it is reached from other machines without TLS: tokens can be read on the way",
            "upwell serve --tls, or keep its address from all but a proxy that speaks TLS",
        )


def _listen(state: ServerState) -> Iterator[Flaw]:
    settings = state.settings
    if settings.host in _WILDCARDS:
        yield Flaw(
            FlawSeverity.WARN,
            "--listen",
            f"{settings.host}: the API listens on every network of this machine, later ones too",
            "upwell serve --listen ADDRESS:PORT, with the address that clients use",
        )


def _local_socket(state: ServerState) -> Iterator[Flaw]:
    if state.socket is None:
        yield Flaw(
            FlawSeverity.WARN,
            state.data_folder,
            "it has no api.sock: commands of the server's own user send admin.token to a port",
            "move it to a folder whose name has at most 98 bytes",
        )
    else:
        yield from open_file(state.socket, state.socket.owner)


def _local_admin(state: ServerState) -> Iterator[Flaw]:
    if not state.settings.admin_by_socket:
        yield Flaw(
            FlawSeverity.WARN,
            "[server] local-admin",
            f"token: whoever has admin.token may do everything from wherever {state.settings.url}"
            " is reached",
            'local-admin = "socket" below [server] in the configuration file',
        )


def _names(state: ServerState) -> Iterator[Flaw]:
    if state.settings.answers_any_name:
        yield Flaw(
            FlawSeverity.WARN,
            "[server] names",
            f"{state.settings.url} answers to any name, also to one that a web page points to it",
            'names = ["HOST"] below [server] in the configuration file',
        )


def _anonymous(state: ServerState) -> Iterator[Flaw]:
    role = state.settings.anonymous
    if role:
        severity = FlawSeverity.WARN if role == Role.VIEWER else FlawSeverity.FAIL
        reason = f"everyone who reaches {state.settings.url} is {role} everywhere, without a token"
        yield Flaw(severity, "--anonymous", reason, "start the server without --anonymous")


def _proxies(state: ServerState) -> Iterator[Flaw]:
    for text in state.settings.trusted_proxies:
        network = ip_network(text)
        if _is_wide(network):
            yield Flaw(
                FlawSeverity.FAIL,
                "[router] trusted-proxies",
                f"{text} is no proxy but a network: each of it may say who asks",
                "name the addresses of the proxies alone",
            )


def _registries(state: ServerState) -> Iterator[Flaw]:
    for prefix in state.settings.insecure_registries:
        yield Flaw(
            FlawSeverity.WARN,
            f"[[registry]] {prefix}",
            "insecure: whoever is between gives it other tags, and reads its password",
            "give it a certificate, and name its authority by ca-file",
        )


def _bucket(state: ServerState) -> Iterator[Flaw]:
    if endpoint := state.settings.insecure_bucket:
        yield Flaw(
            FlawSeverity.WARN,
            f"[embedded-registry.bucket] {endpoint}",
            "plain HTTP: whoever is between reads images, and gives the server other tags",
            "an https endpoint, with ca-file where its authority is your own",
        )


def _outbound(state: ServerState) -> Iterator[Flaw]:
    for text in state.settings.destinations:
        if (found := _outbound_flaw(text)) is not None:
            severity, reason = found
            remedy = "allow HOST:PORT of what is needed, and nothing else"
            yield Flaw(severity, f"[outbound] allow {text}", reason, remedy)


def _outbound_flaw(text: str) -> tuple[FlawSeverity, str] | None:
    """Judge a destination as the settings have it, a network, an address or a name."""
    network, port = _network_of(text)
    if network is None and text.startswith("*."):
        return FlawSeverity.WARN, "every name below it is reached, whatever its address"
    if network is not None and _has_metadata(network):
        return FlawSeverity.FAIL, "link-local addresses are reached, where clouds serve credentials"
    if port:
        return None
    if text == "localhost" or (network is not None and network.is_loopback):
        return FlawSeverity.WARN, "all that listens on this machine's loopback is reached"
    if network is not None and _is_wide(network):
        return (
            FlawSeverity.WARN,
            "a wide network: of it this machine's own addresses are reached too",
        )
    return None


def _has_metadata(network: _Network) -> bool:
    return any(
        network.version == one.version and network.overlaps(one) for one in METADATA_NETWORKS
    )


def _network_of(text: str) -> tuple[_Network | None, str]:
    """Return the network and the port of a destination; None for a name."""
    host, _, port = text.rpartition(":") if _has_port(text) else (text, "", "")
    try:
        return ip_network(host.strip("[]")), port
    except ValueError:
        return None, port


def _has_port(text: str) -> bool:
    return "]:" in text or text.count(":") == 1


def _host_paths(state: ServerState) -> Iterator[Flaw]:
    for path in state.settings.host_paths:
        if _meet(path, state.data_folder):
            reason = "it reaches the data folder, which holds everybody's secrets"
        elif any(_meet(path, one) for one in _MACHINE):
            reason = "it holds files of the machine that are as good as root"
        else:
            continue
        remedy = "allow a folder that is made for this, as /srv/shared"
        yield Flaw(FlawSeverity.FAIL, f"allowed-host-paths {path}", reason, remedy)


def _meet(path: str, other: str) -> bool:
    """Return True if one of two absolute paths is the other, or lies below it."""
    one, two = (f"{text.rstrip('/')}/" for text in (path, other))
    return one.startswith(two) or two.startswith(one)


def _build_network(state: ServerState) -> Iterator[Flaw]:
    settings = state.settings
    if settings.build_network == "host":
        yield Flaw(
            FlawSeverity.FAIL,
            "[builds] network",
            "host: whoever may build reaches all that this machine reaches, its loopback too",
            'network = "isolated", and allowed-networks for mirrors of packages',
        )
    if settings.build_host_network:
        yield Flaw(
            FlawSeverity.WARN,
            "[builds] host-network",
            "every BuildConfig may ask for the machine's network",
            "host-network = false",
        )
    for text in settings.build_networks:
        if _is_wide(ip_network(text)):
            reason = f"{text} is a wide network: strangers' code reaches all of it"
            remedy = "name the addresses of the mirrors alone"
            yield Flaw(FlawSeverity.WARN, "[builds] allowed-networks", reason, remedy)


def _build_ids(state: ServerState) -> Iterator[Flaw]:
    if not state.settings.build_user_namespaces:
        yield Flaw(
            FlawSeverity.FAIL,
            "[builds] user-namespaces",
            "false: root in a build is root outside",
            "user-namespaces = true",
        )
    elif state.build_ids_fault:
        remedy = "`upwell doctor` says how, in check build isolation"
        yield Flaw(FlawSeverity.WARN, "[builds] user-namespaces", state.build_ids_fault, remedy)


def _instance_ids(state: ServerState) -> Iterator[Flaw]:
    if not state.settings.instance_user_namespaces:
        yield Flaw(
            FlawSeverity.FAIL,
            "[workloads] user-namespaces",
            "false: root in an instance is root outside",
            "user-namespaces = true",
        )
    elif state.instance_ids_fault:
        yield Flaw(
            FlawSeverity.WARN,
            "[workloads] user-namespaces",
            f"root in an instance is root outside: {state.instance_ids_fault}",
            "`upwell doctor` says how, in check instance isolation",
        )


def _given_images(state: ServerState) -> Iterator[Flaw]:
    settings = state.settings
    if settings.image_pull_verification != "always":
        yield Flaw(
            FlawSeverity.WARN,
            "[workloads] image-pull-verification",
            "when-reachable: while a registry is away, an image that lies here, and that it is not"
            " known to have given or refused, starts for every namespace that knows its digest",
            'image-pull-verification = "always", and preloaded-images for what has no registry',
        )
    for name in settings.preloaded_images:
        if name.endswith("/*") and name.count("/") == 1:
            yield Flaw(
                FlawSeverity.WARN,
                f"[workloads] preloaded-images {name}",
                "a whole registry: every namespace may have what any of them has pulled from it",
                "name the repositories that an administrator has loaded",
            )


def _firewall(state: ServerState) -> Iterator[Flaw]:
    isolation = state.settings.isolation
    if isolation == NetworkIsolation.OFF:
        yield Flaw(
            FlawSeverity.FAIL,
            "[network] isolation",
            "off: instances reach each other and this machine, whatever NetworkPolicies say",
            'isolation = "services"',
        )
        return
    if isolation == NetworkIsolation.OPEN:
        yield Flaw(
            FlawSeverity.WARN,
            "[network] isolation",
            "open: what no NetworkPolicy selects is reached from every namespace",
            'isolation = "services", or "closed"',
        )
    found = next((one for one in state.components if one.name == "firewall"), None)
    if found is None:
        reason = "the server reports no packet filter"
        remedy = "`upwell doctor` says what is missing, in check firewall"
        yield Flaw(FlawSeverity.FAIL, "clusteroperator/firewall", reason, remedy)
    elif (fault := found.fault) is not None:
        yield Flaw(
            FlawSeverity.FAIL,
            "clusteroperator/firewall",
            f"the packet filter is not in force: {fault.message or fault.reason}",
            "docs/objects/clusteroperator.md says what to do about it",
        )


def _machine_access(state: ServerState) -> Iterator[Flaw]:
    if state.settings.metadata:
        yield Flaw(
            FlawSeverity.FAIL,
            "[network] metadata",
            "true: instances reach the addresses where clouds serve credentials",
            "metadata = false",
        )
    for port in state.settings.machine_ports:
        yield Flaw(
            FlawSeverity.WARN,
            "[network] machine-ports",
            f"instances of every namespace reach port {port} of this machine",
            "remove it, unless what listens there asks everybody for a password",
        )


def _audit_export(state: ServerState) -> Iterator[Flaw]:
    target = state.settings.audit_export
    if not target:
        yield Flaw(
            FlawSeverity.WARN,
            "[audit] export",
            "the audit log is on this machine alone: whoever takes it has the log and its key",
            'export = "syslog+tls://HOST:6514" below [audit] in the configuration file',
        )
    elif not target.startswith(_ENCRYPTED_EXPORTS):
        reason = f"{target} is not encrypted: lines can be read and left out on the way"
        yield Flaw(FlawSeverity.WARN, "[audit] export", reason, "use syslog+tls:// or https://")
    for name in ("audit-log", "audit-export"):
        found = next((one for one in state.components if one.name == name), None)
        if found is not None and (fault := found.fault) is not None:
            reason = fault.message or fault.reason
            remedy = "docs/objects/clusteroperator.md says what to do about it"
            yield Flaw(FlawSeverity.FAIL, f"clusteroperator/{name}", reason, remedy)


def _encryption(state: ServerState) -> Iterator[Flaw]:
    if not state.encryption.source:
        yield Flaw(
            FlawSeverity.WARN,
            f"{state.data_folder}/upwell.db",
            "Secrets in it are not encrypted: a copy of the folder, or its backup, tells them",
            "make a key (`upwell encryption new-key FILE`), and name it in [encryption] keys",
        )
    elif state.encryption.rows_left and not state.encryption.rotating:
        reason = f"{state.encryption.rows_left} texts are not encrypted by the newest key"
        yield Flaw(FlawSeverity.WARN, "[encryption]", reason, "upwell encryption rotate")
    if state.encryption.fault:
        remedy = "mend what it names: without its key the server does not start again"
        yield Flaw(FlawSeverity.FAIL, "[encryption]", state.encryption.fault, remedy)


def _encryption_key(state: ServerState) -> Iterator[Flaw]:
    owner = state.keys[0].file.owner if state.keys else 0
    for key in state.keys:
        path = key.file.path
        yield from open_file(key.file, owner)
        if key.in_data_folder:
            reason = "it lies in the data folder, and is copied with what it protects"
            yield Flaw(FlawSeverity.FAIL, path, reason, "move it elsewhere, as to /etc/upwell")
        elif key.beside_data_folder:
            reason = "it lies beside the data folder: who copies the folder of both has both"
            yield Flaw(FlawSeverity.WARN, path, reason, "move it elsewhere, as to /etc/upwell")


def _secret_files(state: ServerState) -> Iterator[Flaw]:
    for file in state.secret_files:
        yield from open_file(file, file.owner)


def _is_wide(network: _Network) -> bool:
    return network.prefixlen < _WIDEST[network.version]


SETTINGS_CHECKS: tuple[HardeningCheck[ServerState], ...] = (
    HardeningCheck("tls", "the API speaks TLS, or listens on loopback alone", _tls),
    HardeningCheck("listen", "the API listens on one address", _listen),
    HardeningCheck("local-socket", "the server's own user needs no token", _local_socket),
    HardeningCheck("local-admin", "admin.token opens the local socket alone", _local_admin),
    HardeningCheck("server-names", "the API answers to its own names alone", _names),
    HardeningCheck("anonymous", "nobody has a role without a token", _anonymous),
    HardeningCheck("trusted-proxies", "no wide network is taken for a proxy", _proxies),
    HardeningCheck("insecure-registries", "no registry elsewhere is insecure", _registries),
    HardeningCheck("registry-bucket", "the bucket with images is reached by TLS", _bucket),
    HardeningCheck("outbound-allow", "nothing wider than a port is allowed", _outbound),
    HardeningCheck("host-paths", "no folder of the machine's own may be mounted", _host_paths),
    HardeningCheck("build-network", "builds have an isolated network", _build_network),
    HardeningCheck("build-user-namespaces", "root of a build is mapped to nobody", _build_ids),
    HardeningCheck(
        "instance-user-namespaces", "root of an instance is mapped to nobody", _instance_ids
    ),
    HardeningCheck("given-images", "no image starts unless its registry gave it", _given_images),
    HardeningCheck("firewall", "the packet filter reports no fault", _firewall),
    HardeningCheck("machine-access", "no port of this machine is opened", _machine_access),
    HardeningCheck("audit-export", "the audit log is sent elsewhere, without fault", _audit_export),
    HardeningCheck("encryption-at-rest", "the database is encrypted", _encryption),
    HardeningCheck("encryption-key", "no key file lies beside the database", _encryption_key),
    HardeningCheck("secret-files", "only their owners may open files with secrets", _secret_files),
)
"""Checks of settings, of what they name, and of the components that carry them out."""
