import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import Digest, InvalidDigestError

ALGORITHMS = st.sampled_from(["sha256", "sha512"])


@given(st.binary(), ALGORITHMS)
def test_a_digest_survives_its_text_form_and_matches_its_content(
    content: bytes, algorithm: str
) -> None:
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest
    assert digest.hex == hashlib.new(algorithm, content).hexdigest()
    assert digest.matches(content)
    assert not digest.matches(content + b"x")


@given(st.text())
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidDigestError:
        return
    assert str(digest) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        f"sha256:{'a' * 63}",
        f"sha256:{'a' * 65}",
        f"sha256:{'a' * 128}",
        f"sha512:{'a' * 64}",
        f"sha256:{'A' * 64}",
        f"sha256:{'g' * 64}",
        f"md5:{'a' * 32}",
        f"sha256:{'a' * 64}\n",
        f" sha256:{'a' * 64}",
    ],
)
def test_what_cannot_be_verified_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidDigestError, match="not a digest"):
        Digest.parse(text)


def test_people_see_twelve_digits() -> None:
    assert Digest("sha256", "0123456789abcdef" * 4).short == "0123456789ab"
