"""The instant query of Prometheus' HTTP API (v1), which Thanos, Mimir and VictoriaMetrics have."""

import json
import math
from typing import Any

from upwell.verification.http import HttpClient, ProbeRequest, parse_url, place
from upwell.verification.interface import (
    BadQuestionError,
    HttpAnswer,
    MetricQuestion,
    ProbeError,
)

_PATH = "api/v1/query"
_MAX_WHY = 300
_QUERY_FAULTS = {"bad_data", "execution"}
"""Values of `errorType` that speak of the query, not of the server."""


async def measure(client: HttpClient, question: MetricQuestion) -> float | None:
    """Return the number that a query gives; None for none, NaN and infinity.

    Raises ProbeError.
    """
    base = parse_url(question.server)
    url = (base / _PATH).with_query(
        {"query": question.query, "time": f"{question.at.timestamp():.3f}"}
    )
    headers = {"Authorization": question.authorization} if question.authorization else {}
    answer = await client.send(ProbeRequest(url, headers))
    try:
        return _number(answer)
    except BadQuestionError as error:
        raise BadQuestionError(f"{place(base)}: {error}") from error
    except ProbeError as error:
        raise ProbeError(f"{place(base)}: {error}") from error


def _number(answer: HttpAnswer) -> float | None:
    if answer.cut:
        raise BadQuestionError("the answer is too long: the query must give one number")
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("status") != "success":
        raise _complaint(answer.status, document)
    try:
        return _value(document["data"])
    except (KeyError, TypeError, IndexError) as error:
        raise ProbeError("the answer is not that of a Prometheus API") from error


def _value(data: dict[str, Any]) -> float | None:
    kind, result = data["resultType"], data["result"]
    if kind == "vector":
        if not result:
            return None
        if len(result) > 1:
            raise BadQuestionError(f"the query gives {len(result)} series: it must give one number")
        sample = result[0]["value"]
    elif kind == "scalar":
        sample = result
    else:
        raise BadQuestionError(f"the query gives a {str(kind)[:_MAX_WHY]}, not one number")
    try:
        number = float(sample[1])
    except ValueError as error:
        raise ProbeError("the value is not a number") from error
    return number if math.isfinite(number) else None


def _complaint(status: int, document: Any) -> ProbeError:
    said = document if isinstance(document, dict) else {}
    why = said.get("error")
    if not isinstance(why, str):
        return ProbeError(f"it answered {status}, and no result")
    kind = BadQuestionError if said.get("errorType") in _QUERY_FAULTS else ProbeError
    return kind(why[:_MAX_WHY])
