"""The CloudEvent by which a CI is asked for its verdict: the same bytes whenever it is sent."""

from upwell.api.promotion import CheckResult
from upwell.formats.canonical_json import canonical_json
from upwell.policy.promotion.verification.checks import CheckAttempt
from upwell.policy.promotion.verification.jobs import VerifiedRelease

EVENT_TYPE = "dev.upwell.verification.requested"


def event_id(subject: VerifiedRelease, result: CheckResult) -> str:
    """Return the event's one identity: who gets it twice knows that it is the same."""
    return f"{subject.promotion.uid}/{result.name}/{result.attempt}"


def build_request(
    subject: VerifiedRelease, attempt: CheckAttempt, *, where: str, route: str, url: str
) -> bytes:
    """Return the event in structured mode (CloudEvents 1.0, JSON format).

    `where` is the stage's address as this machine sees it, `url` takes the answer.
    """
    result, pipeline = attempt.result, subject.pipeline
    began = result.started or attempt.now
    document = {
        "specversion": "1.0",
        "id": event_id(subject, result),
        "source": f"/apis/{pipeline.KIND.api_version}/namespaces/{pipeline.namespace}"
        f"/{pipeline.KIND.plural}/{pipeline.name}",
        "type": EVENT_TYPE,
        "subject": f"{subject.release.name}/{subject.stage.name}",
        "time": began.isoformat(),
        "datacontenttype": "application/json",
        "data": {
            "namespace": pipeline.namespace,
            "pipeline": pipeline.name,
            "stage": subject.stage.name,
            "release": subject.release.name,
            "promotion": subject.promotion.name,
            "check": result.name,
            "attempt": result.attempt,
            "address": where,
            "route": route,
            "images": subject.images,
            "deadline": attempt.deadline.isoformat(),
            "answer": {"method": "POST", "url": url},
        },
    }
    return canonical_json(document)
