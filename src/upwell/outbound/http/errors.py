"""Failures of requests. No message quotes what was answered: it may be another service's."""

import ssl


class HttpError(Exception):
    """A request got no answer that can be used."""


class NoConnectionError(HttpError):
    """There is no connection to a host; `os_error` says why."""

    def __init__(self, host: str, port: int, os_error: OSError) -> None:
        super().__init__(f"no connection to {host}:{port}")
        self.host = host
        self.port = port
        self.os_error = os_error

    @property
    def is_untrusted(self) -> bool:
        """True if the certificate of the host is not trusted."""
        return isinstance(self.os_error, ssl.SSLCertVerificationError)


class DisconnectedError(HttpError):
    """The connection ended before the head of an answer."""


class BrokenBodyError(HttpError):
    """The connection ended within the body of an answer."""


class MalformedAnswerError(HttpError):
    """An answer is not HTTP/1.1, or its head is too large."""


class RedirectError(HttpError):
    """A redirect leads nowhere, too often to elsewhere, or from https to plain http."""


class InvalidRequestError(HttpError):
    """A request cannot be sent as it is."""
