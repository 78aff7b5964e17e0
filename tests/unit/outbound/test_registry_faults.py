"""Words of Podman and Buildah about registries, without what was answered."""

import pytest

from upwell.outbound.registry_faults import without_answer


@pytest.mark.parametrize(
    "said",
    [
        'reading manifest 1 in x/y: error parsing HTTP 404 response body: "secret words"',
        'initializing source docker://x/y: reading manifest 1 in x/y: StatusCode: 404, "secret...',
        'pinging registry x: Get "http://x/v2/": malformed HTTP response "SSH-2.0-secret"',
        'Get "http://x/v2/": malformed MIME header line: secret',
        'Get "http://x/v2/": malformed HTTP status code "secret"',
    ],
)
def test_what_was_answered_is_left_out(said: str) -> None:
    assert "secret" not in without_answer(said)
    assert without_answer(said).startswith(said[:12])


@pytest.mark.parametrize(
    "said",
    [
        "reading manifest 1 in x/y: manifest unknown",
        "initializing source docker://x/y: pinging container registry x: connection refused",
        "reading manifest 1 in x/y: unauthorized: authentication required",
    ],
)
def test_other_words_stay(said: str) -> None:
    assert without_answer(said) == said
