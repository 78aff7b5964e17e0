"""The Job of a check: its one name, its labels, and its test's environment."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from upwell.api.apps import Job, JobSpec
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.api.pipeline import Check, JobCheck, Pipeline, Stage
from upwell.api.pod_template import Container, EnvVar, PodTemplate
from upwell.api.promotion import PIPELINE_LABEL, CheckResult, Promotion, Release
from upwell.api.values.author import made_of
from upwell.policy.promotion.images import stage_images
from upwell.policy.promotion.stages import namespace_of

CHECK_LABEL = "upwell.dev/check"
ATTEMPT_LABEL = "upwell.dev/attempt"
PROMOTION_UID_LABEL = "upwell.dev/promotion-uid"
PROMOTION_ANNOTATION = "upwell.dev/promotion"
"""`NAMESPACE/NAME` of the Promotion: its name may be too long for a label."""

_CONTAINER = "test"
_STEM = 40
_HASH = 10
_DEADLINE_MARGIN = 300
"""Seconds that a Job may go on after its check's time: its end would take the log with it, so that
the check has to end it first. It holds when nobody is there to do that."""
_KEPT_SECONDS = 24 * 3600
"""For a Job whose results nobody has fetched."""


class NoTestError(Exception):
    """The check cannot be run for this Release; the message says why."""


@dataclass(frozen=True, slots=True)
class VerifiedRelease:
    """Release that is verified, and the addresses at which it answers."""

    pipeline: Pipeline
    stage: Stage
    release: Release
    promotion: Promotion
    address: str
    """URL or host:port at which workloads reach it; empty when there is none."""

    @property
    def namespace(self) -> str:
        """Namespace of the stage's workloads."""
        return namespace_of(self.pipeline, self.stage)

    @property
    def images(self) -> dict[str, str]:
        """Component -> pull spec with digest, as the stage has it."""
        return stage_images(self.release, self.stage)


def job_name(promotion: Promotion, check: str, attempt: int) -> str:
    """Return the one name of an attempt's Job: starting it twice starts it once."""
    identity = hashlib.sha256(f"{promotion.uid}/{check}/{attempt}".encode()).hexdigest()[:_HASH]
    stem = f"{promotion.name}-{check}".replace(".", "-")[:_STEM].strip("-")
    return f"{stem}-{attempt}-{identity}"


def build_job(subject: VerifiedRelease, check: Check, test: JobCheck, result: CheckResult) -> Job:
    """Return the Job of the attempt that `result` is at; raises NoTestError."""
    promotion = subject.promotion
    metadata = ObjectMeta(
        name=job_name(promotion, check.name, result.attempt),
        namespace=subject.namespace,
        labels={
            PIPELINE_LABEL: subject.pipeline.name,
            CHECK_LABEL: check.name,
            ATTEMPT_LABEL: str(result.attempt),
            PROMOTION_UID_LABEL: promotion.uid,
        },
        annotations={PROMOTION_ANNOTATION: f"{promotion.namespace}/{promotion.name}"},
    )
    spec = JobSpec(
        template=_template(subject, test),
        completions=1,
        parallelism=1,
        backoff_limit=0,
        active_deadline_seconds=check.timeout_seconds + _DEADLINE_MARGIN,
        ttl_seconds_after_finished=_KEPT_SECONDS,
    )
    return made_of(Job(metadata=metadata, spec=spec), subject.pipeline)


def promotion_of(job: Job) -> ObjectKey | None:
    """Return the Promotion that a Job verifies; None for any other Job."""
    namespace, found, name = job.annotations.get(PROMOTION_ANNOTATION, "").partition("/")
    return ObjectKey(Promotion.KIND.kind, namespace, name) if found else None


def is_over(job: Job, results: Mapping[str, CheckResult]) -> bool:
    """Return True if the attempt of a Job has ended, and its result is among `results`."""
    result = results.get(job.labels.get(CHECK_LABEL, ""))
    if result is None or result.phase.is_final:
        return True
    return job.labels.get(ATTEMPT_LABEL) != str(result.attempt)


def container_of_test(job: Job) -> str:
    """Return the name of the container that is the test."""
    return job.spec.template.spec.containers[0].name


def image_of_test(subject: VerifiedRelease, test: JobCheck) -> str:
    """Return the pull spec of the container that is the test; raises NoTestError."""
    template = test.template or PodTemplate()
    declared = template.spec.containers[0].image if template.spec.containers else ""
    image = _image(subject, test) or declared
    if not image:
        raise NoTestError("no image: set component, image, or that of the template's container")
    return image


def _template(subject: VerifiedRelease, test: JobCheck) -> PodTemplate:
    template = test.template or PodTemplate()
    first, *others = template.spec.containers or (Container(name=_CONTAINER),)
    image = image_of_test(subject, test)
    changes = {
        "image": image,
        "command": test.command or first.command,
        "args": test.args or first.args,
        # First, so that the check's own variables can refer to these.
        "env": (*_variables(subject), *first.env, *test.env),
    }
    pod = template.spec.model_copy(
        update={
            "containers": (first.model_copy(update=changes), *others),
            "restart_policy": "Never",
        }
    )
    return template.model_copy(update={"spec": pod})


def _image(subject: VerifiedRelease, test: JobCheck) -> str:
    if not test.component:
        return test.image
    if test.component not in subject.images:
        raise NoTestError(f"{subject.release.name} has no component {test.component}")
    return subject.images[test.component]


def _variables(subject: VerifiedRelease) -> list[EnvVar]:
    values = {
        "UPWELL_PIPELINE": subject.pipeline.name,
        "UPWELL_STAGE": subject.stage.name,
        "UPWELL_RELEASE": subject.release.name,
        "UPWELL_ADDRESS": subject.address,
    }
    for component, image in subject.images.items():
        values[f"UPWELL_IMAGE_{re.sub('[^A-Z0-9]', '_', component.upper())}"] = image
    return [EnvVar(name=name, value=value) for name, value in values.items()]
