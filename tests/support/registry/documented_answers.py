"""Answers of hosted and installed registries as their documentation and their users tell them.

`{host}` stands for the registry's address, `{repository}` for the repository that is asked for.
Sources: docker/docs (download rate limit), distribution's auth/token.md and auth/oauth.md, Amazon
ECR's user guide (common errors), Azure's AAD-OAuth.md and Token-BasicAuth.md, Artifact Registry's
quotas, GitLab's user and IP rate limits, Harbor's and Quay's API, JFrog's Docker registry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from upwell.registry.interface import Credential

LOGIN = Credential("alice", "s3cret")


@dataclass(frozen=True)
class DocumentedAnswer:
    """Status, body and headers of an answer."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def _errors(code: str, message: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]})


@dataclass(frozen=True)
class DocumentedBehaviour:
    """Behaviour of one registry, as far as others differ from it."""

    name: str
    realm: str
    """Path of the token server; empty: it wants the login itself."""
    service: str = ""
    token: Mapping[str, object] = field(default_factory=dict)
    """Answer of the token server."""
    login: Credential | None = LOGIN
    challenge_scope: bool = True
    unauthorized: str = _errors("UNAUTHORIZED", "authentication required")
    missing: DocumentedAnswer = DocumentedAnswer(
        404, _errors("MANIFEST_UNKNOWN", "manifest unknown")
    )
    limited: DocumentedAnswer = DocumentedAnswer(
        429, _errors("TOOMANYREQUESTS", "too many requests")
    )
    pause: float = 0.0
    """Seconds that a caller has to wait after `limited`; 0: it does not say."""
    next_page: str = '</v2/{repository}/tags/list?last=b&n=2>; rel="next"'
    tells_digest: bool = True
    """A HEAD has a Docker-Content-Digest."""
    referrers: DocumentedAnswer = DocumentedAnswer(404, "404 page not found\n")
    tag_is_digest: bool = False
    """A tag such as sha256-<hex> names the manifest of that digest."""
    upload: str = "/v2/{repository}/blobs/uploads/6b5?_state=abc%3D"
    """Location of an upload."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of answers to requests for manifests."""


DOCUMENTED = (
    DocumentedBehaviour(
        "Docker Hub",
        "/token",
        "registry.docker.io",
        {"token": "t0ken", "access_token": "t0ken", "expires_in": 300, "issued_at": "2026-05-01"},
        login=None,
        limited=DocumentedAnswer(
            429,
            _errors("TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit."),
            {"Retry-After": "67"},
        ),
        pause=67,
        headers={"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "98;w=21600"},
    ),
    DocumentedBehaviour(
        "GHCR",
        "/token",
        "ghcr.io",
        {"token": "djE6"},
        login=None,
        limited=DocumentedAnswer(429, "", {"Retry-After": "60"}),
        pause=60,
        upload="/v2/{repository}/blobs/upload/89d7?next=1",
    ),
    DocumentedBehaviour(
        "Quay",
        "/v2/auth",
        "quay.io",
        {"token": "eyJ"},
        unauthorized=_errors("UNAUTHORIZED", "access to the requested resource is not authorized"),
        limited=DocumentedAnswer(429, "Too many requests"),
        next_page='</v2/{repository}/tags/list?n=2&next_page=gAAAAABk%3D%3D>; rel="next"',
    ),
    DocumentedBehaviour(
        "Harbor",
        "/service/token",
        "harbor-registry",
        {"token": "eyJ", "access_token": "", "expires_in": 1800, "issued_at": "2026-05-01"},
        missing=DocumentedAnswer(404, _errors("NOT_FOUND", "artifact team/app:1 not found")),
    ),
    DocumentedBehaviour(
        "ECR",
        "",
        "ecr.amazonaws.com",
        login=Credential("AWS", "a-password-of-twelve-hours"),
        unauthorized="Not Authorized\n",
        missing=DocumentedAnswer(
            404,
            _errors("NAME_UNKNOWN", "The repository with name 'team/app' does not exist"),
        ),
        limited=DocumentedAnswer(429, _errors("TOOMANYREQUESTS", "Rate exceeded")),
        next_page='<http://{host}/v2/{repository}/tags/list?n=2&last=b>; rel="next"',
        tells_digest=False,
        upload="http://{host}/v2/{repository}/blobs/uploads/6b5",
    ),
    DocumentedBehaviour(
        "Artifact Registry",
        "/v2/token",
        "us-docker.pkg.dev",
        {"expires_in": 3600, "issued_at": "2026-05-01", "token": "ya29"},
        login=Credential("oauth2accesstoken", "ya29.c"),
        limited=DocumentedAnswer(
            429,
            _errors("TOOMANYREQUESTS", "Quota exceeded for quota metric 'Requests per minute'"),
        ),
        upload="/artifacts-uploads/namespaces/p/repositories/r/uploads/AF?x=1",
    ),
    DocumentedBehaviour(
        "ACR",
        "/oauth2/token",
        "contoso.azurecr.io",
        {"access_token": "eyJ"},
        login=Credential(identity_token="r3fresh"),
        limited=DocumentedAnswer(
            429, _errors("TOOMANYREQUESTS", "slow down"), {"Retry-After": "12"}
        ),
        pause=12,
        next_page='</v2/{repository}/tags/list?last=b&n=2&orderby=>; rel="next"',
    ),
    DocumentedBehaviour(
        "Artifactory",
        "/v2/token",
        "example.jfrog.io",
        {"token": "eyJ", "expires_in": 3600},
        challenge_scope=False,
        missing=DocumentedAnswer(
            404, json.dumps({"errors": [{"status": 404, "message": "File not found."}]})
        ),
        next_page="</v2/{repository}/tags/list?n=2&last=b>; rel=next",
        upload="http://{host}/v2/{repository}/blobs/uploads/6b5",
    ),
    DocumentedBehaviour(
        "GitLab",
        "/jwt/auth",
        "container_registry",
        {"token": "eyJ"},
        limited=DocumentedAnswer(
            429,
            "Retry later\n",
            {
                "RateLimit-Limit": "2000",
                "RateLimit-Observed": "2001",
                "RateLimit-Remaining": "0",
                "RateLimit-ResetTime": "Fri, 01 May 2026 00:01:00 GMT",
                "Retry-After": "30",
            },
        ),
        pause=30,
        tag_is_digest=True,
    ),
)
