"""Signatures of S3 requests: what AWS's documentation computes, and what botocore does."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from upwell.registry.s3.signing import UNSIGNED, S3Credential, S3Request, signed_headers

EXAMPLE = S3Credential("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = "examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("request_", "payload", "signature"),
    [
        (
            S3Request("GET", HOST, "/test.txt", headers={"Range": "bytes=0-9"}),
            EMPTY,
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            S3Request(
                "PUT",
                HOST,
                "/test$file.text",
                headers={
                    "Date": "Fri, 24 May 2013 00:00:00 GMT",
                    "x-amz-storage-class": "REDUCED_REDUNDANCY",
                },
            ),
            "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            S3Request("GET", HOST, "/", [("lifecycle", "")]),
            EMPTY,
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            S3Request("GET", HOST, "/", [("max-keys", "2"), ("prefix", "J")]),
            EMPTY,
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)
def test_a_request_is_signed_as_in_the_documentation_of_aws(
    request_: S3Request, payload: str, signature: str
) -> None:
    headers = signed_headers(request_, EXAMPLE, "us-east-1", AT, payload)
    assert headers["Authorization"].endswith(f"Signature={signature}")


class FixedAuth(S3SigV4Auth):  # type: ignore[misc]
    """botocore's signer, but for the time and what it hashes."""

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = "20130524T000000Z"
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))

    def payload(self, request: AWSRequest) -> str:
        del request
        return UNSIGNED


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF), min_size=1, max_size=8)


@given(
    st.lists(TEXT.filter(lambda one: one not in {".", ".."}), min_size=1, max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.sampled_from(["", "a session/+="]),
)
def test_a_request_is_signed_as_botocore_does(
    path: Sequence[str], query: dict[str, str], token: str
) -> None:
    request = S3Request("PUT", "s3.example:9000", f"/bucket/{'/'.join(path)}", [*query.items()])
    ours = signed_headers(request, S3Credential("AKID", "secret", token), "eu-west-1", AT, UNSIGNED)

    theirs = AWSRequest("PUT", f"http://s3.example:9000{request.target}")
    FixedAuth(Credentials("AKID", "secret", token or None), "s3", "eu-west-1").add_auth(theirs)
    assert ours["Authorization"] == theirs.headers["Authorization"]
