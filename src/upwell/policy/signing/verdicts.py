"""Verdicts of stages as attestations (in-toto, predicate test-result v0.1)."""

from collections.abc import Iterable

from upwell.api.promotion import CheckPhase, CheckResult, Promotion, PromotionPhase, Purpose
from upwell.formats.sigstore import InTotoStatement, PredicateType, Subject

ROLLOUT, SOAK = "rollout", "soak"
"""Names of what every stage tests, besides its checks."""


def is_verdict(promotion: Promotion) -> bool:
    """Return True if a Promotion says that a Release is verified in its stage."""
    ended = promotion.status.phase is PromotionPhase.SUCCEEDED
    return ended and promotion.spec.purpose is not Purpose.ROLL_BACK


def stage_name(promotion: Promotion) -> str:
    """Return the stage as attestations name it: `NAMESPACE/PIPELINE/STAGE`."""
    return f"{promotion.namespace}/{promotion.spec.pipeline}/{promotion.spec.stage}"


def verdict(promotion: Promotion, images: Iterable[Subject], url: str) -> InTotoStatement:
    """Return that these images were verified in the stage; `url` leads to the API."""
    checks = promotion.status.checks
    kind = promotion.KIND
    place = f"{url}/apis/{kind.api_version}/namespaces/{promotion.namespace}"
    passed = [ROLLOUT, *([SOAK] if promotion.status.soaked_seconds else [])]
    predicate = {
        "result": "PASSED",
        "configuration": [
            {
                "name": stage_name(promotion),
                "uri": f"{place}/pipelines/{promotion.spec.pipeline}",
                "annotations": {"release": promotion.spec.release},
            }
        ],
        "url": f"{place}/{kind.plural}/{promotion.name}",
        "passedTests": [*passed, *(one.name for one in checks if _passed(one) and not one.flaky)],
        "warnedTests": [one.name for one in checks if _passed(one) and one.flaky],
        "failedTests": [],
    }
    return InTotoStatement(tuple(images), PredicateType.TEST_RESULT, predicate)


def is_of_stage(statement: InTotoStatement, stage: str) -> bool:
    """Return True if a test result is that of a stage, by its `stage_name`."""
    configuration = statement.predicate.get("configuration")
    return isinstance(configuration, list) and any(
        isinstance(one, dict) and one.get("name") == stage for one in configuration
    )


def _passed(check: CheckResult) -> bool:
    return check.phase is CheckPhase.PASSED
