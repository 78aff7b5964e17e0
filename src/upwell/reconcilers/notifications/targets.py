"""From a Subscription and its Secrets to the sink that tells its receivers."""

from upwell.api.meta import LocalReference
from upwell.api.subscription import Subscription, Webhook
from upwell.delivery.interface import (
    InvalidTargetError,
    NoticeSinks,
    Sink,
    WebhookSinks,
    WebhookTarget,
)
from upwell.reconcilers.authority import MISSING_RIGHT, UNASKED, Authority
from upwell.reconcilers.sources import MissingSecretError, read_secret
from upwell.store.interface import Store

_SIGNING_KEY = "secret"
_URLS_KEY = "urls"


class TargetError(Exception):
    """Fault of a target that somebody must change first; `reason` goes into Ready."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Targets:
    """Resolves targets anew each time: a Secret that was changed is in force at once."""

    def __init__(
        self,
        store: Store,
        webhooks: WebhookSinks,
        notices: NoticeSinks,
        authority: Authority = UNASKED,
    ) -> None:
        self._authority = authority
        self._store = store
        self._webhooks = webhooks
        self._notices = notices

    async def sink(self, subscription: Subscription) -> Sink:
        """Return the sink; raises TargetError, or a StoreError."""
        if why := await self._authority.refusal(subscription):
            raise TargetError(MISSING_RIGHT, why)
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
        except MissingSecretError as error:
            raise TargetError("SecretMissing", str(error)) from None
        except (InvalidTargetError, UnicodeDecodeError) as error:
            why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise TargetError("InvalidSecret", f"the Secret cannot be used: {why}") from None
        raise TargetError("NoTarget", "set one of spec.webhook and spec.notice")

    async def _target(self, namespace: str, webhook: Webhook) -> WebhookTarget:
        secret, headers = b"", {}
        if webhook.secret is not None:
            secret = await self._value(namespace, webhook.secret, _SIGNING_KEY)
        if webhook.headers is not None:
            found = await read_secret(self._store, namespace, webhook.headers.name)
            # A file's last line end comes along with `kubectl create secret --from-file`.
            headers = {name: value.decode().strip() for name, value in found.decoded().items()}
        return WebhookTarget(webhook.url, secret, headers, webhook.content_type.value)

    async def _value(self, namespace: str, reference: LocalReference, key: str) -> bytes:
        secret = await read_secret(self._store, namespace, reference.name)
        value = secret.decoded().get(key, b"").strip()
        if not value:
            raise TargetError("InvalidSecret", f"Secret {reference.name} has no key {key!r}")
        return value
