"""Probes and lifecycle handlers of containers, as the runtime runs them."""

from upwell.api.pod_template import Container, LifecycleHandler, Probe
from upwell.policy.rollouts.pod_template import TemplateError
from upwell.workload.instance_spec import Action, ExecProbe, HttpProbe, Pause, ProbeSpec, TcpProbe


def action_of(handler: LifecycleHandler | None, container: Container) -> Action | None:
    """Return what a lifecycle handler does; None for nothing. Raises TemplateError."""
    if handler is None:
        return None
    if handler.sleep is not None:
        return Pause(handler.sleep.seconds)
    check = _check(Probe(exec=handler.exec, http_get=handler.http_get), container)
    return check if isinstance(check, ExecProbe | HttpProbe) else None


def probe_of(probe: Probe | None, container: Container) -> ProbeSpec | None:
    """Return the probe with its defaults; raises TemplateError."""
    if probe is None:
        return None
    return ProbeSpec(
        check=_check(probe, container),
        initial_delay=probe.initial_delay_seconds,
        period=probe.period_seconds,
        timeout=probe.timeout_seconds,
        success_threshold=probe.success_threshold or 1,
        failure_threshold=probe.failure_threshold or 3,
    )


def _check(probe: Probe, container: Container) -> HttpProbe | TcpProbe | ExecProbe:
    if probe.http_get is not None:
        get = probe.http_get
        headers = tuple((header.name, header.value) for header in get.http_headers)
        return HttpProbe(port_number(get.port, container), get.path, get.scheme.lower(), headers)
    if probe.tcp_socket is not None:
        return TcpProbe(port_number(probe.tcp_socket.port, container))
    if probe.exec is not None and probe.exec.command:
        return ExecProbe(probe.exec.command)
    raise TemplateError(
        "UnsupportedField",
        f"container {container.name}: a probe or lifecycle handler needs httpGet, tcpSocket"
        " or exec.command",
    )


def port_number(port: int | str, container: Container) -> int:
    """Return the number of a port that may be given by name; raises TemplateError."""
    if isinstance(port, int):
        return port
    for known in container.ports:
        if known.name == port:
            return known.container_port
    if port.isascii() and port.isdigit():
        return int(port)
    raise TemplateError("InvalidTemplate", f"container {container.name} has no port named {port!r}")
