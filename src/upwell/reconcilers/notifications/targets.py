"""From a Subscription and its Secrets to the sink that tells its receivers."""

from upwell.api.core import Secret
from upwell.api.meta import LocalReference
from upwell.api.subscription import Subscription, Webhook
from upwell.delivery.interface import (
    InvalidTargetError,
    NoticeSinks,
    Sink,
    WebhookSinks,
    WebhookTarget,
)
from upwell.store.interface import NotFoundError, Store

_SIGNING_KEY = "secret"
_URLS_KEY = "urls"


class TargetError(Exception):
    """Fault of a target that somebody must change first; `reason` goes into Ready."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Targets:
    """Resolves targets anew each time: a Secret that was changed is in force at once."""

    def __init__(self, store: Store, webhooks: WebhookSinks, notices: NoticeSinks) -> None:
        self._store = store
        self._webhooks = webhooks
        self._notices = notices

    async def sink(self, subscription: Subscription) -> Sink:
        """Return the sink; raises TargetError, or a StoreError."""
        spec = subscription.spec
        try:
            if spec.webhook is not None:
                target = await self._target(subscription.namespace, spec.webhook)
                return self._webhooks.webhook(target)
            if spec.notice is not None:
                text = await self._value(subscription.namespace, spec.notice.secret, _URLS_KEY)
                lines = (line.strip() for line in text.decode().splitlines())
                urls = [line for line in lines if line and not line.startswith("#")]
                return self._notices.notice(urls)
        except (InvalidTargetError, UnicodeDecodeError) as error:
            why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise TargetError("InvalidSecret", f"the Secret cannot be used: {why}") from None
        raise TargetError("NoTarget", "set one of spec.webhook and spec.notice")

    async def _target(self, namespace: str, webhook: Webhook) -> WebhookTarget:
        secret, headers = b"", {}
        if webhook.secret is not None:
            secret = await self._value(namespace, webhook.secret, _SIGNING_KEY)
        if webhook.headers is not None:
            found = await self._secret(namespace, webhook.headers)
            # A file's last line end comes along with `kubectl create secret --from-file`.
            headers = {name: value.decode().strip() for name, value in found.decoded().items()}
        return WebhookTarget(webhook.url, secret, headers, webhook.content_type.value)

    async def _value(self, namespace: str, reference: LocalReference, key: str) -> bytes:
        secret = await self._secret(namespace, reference)
        value = secret.decoded().get(key, b"").strip()
        if not value:
            raise TargetError("InvalidSecret", f"Secret {reference.name} has no key {key!r}")
        return value

    async def _secret(self, namespace: str, reference: LocalReference) -> Secret:
        try:
            return await self._store.get(Secret, namespace, reference.name)
        except NotFoundError:
            message = f"there is no Secret {reference.name} in namespace {namespace}"
            raise TargetError("SecretMissing", message) from None
