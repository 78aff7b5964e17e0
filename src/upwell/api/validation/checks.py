"""Rules of the checks of a stage beyond their types."""

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from upwell.api.pipeline import (
    Check,
    HttpCheck,
    JobCheck,
    MetricCheck,
    TcpCheck,
    Verification,
    WebhookCheck,
)
from upwell.api.validation.formats import has_backsteps
from upwell.api.validation.labels import label_faults
from upwell.api.validation.pods.template import template_faults
from upwell.api.validation.windows import schedule_faults
from upwell.api.values.addresses import host_and_port, is_http_url
from upwell.api.values.faults import Fault
from upwell.api.values.thresholds import InvalidThresholdError, Threshold
from upwell.oci import InvalidReferenceError, Reference

_FLAKY = ("Accept", "Reject")
_STATUSES = range(100, 600)


def verification_faults(
    verification: Verification, path: str, components: Collection[str]
) -> Iterator[Fault]:
    """Yield every fault of a stage's verification."""
    checks = verification.checks
    yield from label_faults([check.name for check in checks], f"{path}.checks")
    for at, check in enumerate(checks):
        yield from _check(check, f"{path}.checks[{at}]", components)
    yield from schedule_faults(verification.schedule, verification.time_zone, path, "schedule")


def _check(check: Check, path: str, components: Collection[str]) -> Iterator[Fault]:
    kinds = {
        "job": check.job,
        "http": check.http,
        "tcp": check.tcp,
        "metric": check.metric,
        "webhook": check.webhook,
    }
    if sum(kind is not None for kind in kinds.values()) != 1:
        yield Fault(path, f"set exactly one of {', '.join(kinds)}")
    if check.flaky not in _FLAKY:
        yield Fault(f"{path}.flaky", f"expected one of {', '.join(_FLAKY)}")
    if check.job is not None:
        yield from _job(check.job, f"{path}.job", components)
    if check.http is not None:
        yield from _http(check.http, f"{path}.http")
    if check.tcp is not None:
        yield from _tcp(check.tcp, f"{path}.tcp")
    if check.metric is not None:
        yield from _metric(check.metric, f"{path}.metric")
    if check.webhook is not None:
        yield from _webhook(check.webhook, f"{path}.webhook")


def _job(job: JobCheck, path: str, components: Collection[str]) -> Iterator[Fault]:
    if job.component and job.image:
        yield Fault(path, "component and image exclude each other")
    if job.component and job.component not in components:
        yield Fault(f"{path}.component", f"no component is named {job.component!r}")
    if job.image:
        try:
            Reference.parse(job.image)
        except InvalidReferenceError as error:
            yield Fault(f"{path}.image", str(error))
    containers = job.template.spec.containers if job.template is not None else ()
    if job.template is not None:
        template = job.template.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        yield from template_faults(template, f"{path}.template", triggered=None)
    if not (job.component or job.image or (containers and containers[0].image)):
        yield Fault(path, "set component or image: what the test is run in")
    for at, variable in enumerate(job.env):
        if not variable.name or "=" in variable.name:
            yield Fault(
                f"{path}.env[{at}].name", f"{variable.name!r} is not the name of a variable"
            )
    if job.junit and not _is_path(job.junit):
        yield Fault(f"{path}.junit", f"{job.junit!r} is not an absolute path")
    for at, artifact in enumerate(job.artifacts):
        if not _is_path(artifact):
            yield Fault(f"{path}.artifacts[{at}]", f"{artifact!r} is not an absolute path")


def _is_path(text: str) -> bool:
    return text.startswith("/") and text.strip("/") != "" and not has_backsteps(text)


def _http(http: HttpCheck, path: str) -> Iterator[Fault]:
    if http.url and not http.url.startswith("/") and not is_http_url(http.url):
        yield Fault(f"{path}.url", "expected an http or https URL, or a path that begins with /")
    if not http.status:
        yield Fault(f"{path}.status", "required: at least one status")
    for at, status in enumerate(http.status):
        if status not in _STATUSES:
            yield Fault(f"{path}.status[{at}]", f"{status} is not an HTTP status")


def _tcp(tcp: TcpCheck, path: str) -> Iterator[Fault]:
    if tcp.address and ("/" in tcp.address or host_and_port(tcp.address) is None):
        yield Fault(f"{path}.address", f"{tcp.address!r} is not host:port")


def _metric(metric: MetricCheck, path: str) -> Iterator[Fault]:
    if not is_http_url(metric.server):
        yield Fault(f"{path}.server", "expected the http or https URL of a Prometheus API")
    elif "@" in urlsplit(metric.server).netloc:
        yield Fault(f"{path}.server", "a URL is not secret: put the login into a Secret, `secret`")
    if not metric.query.strip():
        yield Fault(f"{path}.query", "required")
    if metric.secret is not None and not metric.secret.name:
        yield Fault(f"{path}.secret.name", "required")
    try:
        Threshold.parse(metric.condition)
    except InvalidThresholdError as error:
        yield Fault(f"{path}.condition", str(error))


def _webhook(webhook: WebhookCheck, path: str) -> Iterator[Fault]:
    if webhook.url and not is_http_url(webhook.url):
        yield Fault(f"{path}.url", "expected an http or https URL")
    if webhook.secret is not None and not webhook.secret.name:
        yield Fault(f"{path}.secret.name", "required")
