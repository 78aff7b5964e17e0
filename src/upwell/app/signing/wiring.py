"""Hands what signs images the ports that it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from upwell import __version__
from upwell.app.adapters import Adapters
from upwell.controller import Controller
from upwell.machine.clock import now
from upwell.policy.signing.provenance import BuilderIdentity
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.reconcilers.builds.output import SignPushed, unsigned
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.signing.builds import BuildSigning, build_signing_controller
from upwell.reconcilers.signing.images import ImageSigning
from upwell.registry.attachments import HostedArtifacts, ImageAttachments, RemoteArtifacts
from upwell.registry.client.push import RegistryPusher


@dataclass(frozen=True, slots=True)
class WiredSigning:
    """Signer of pushed images, and the controllers that see to the rest."""

    sign_pushed: SignPushed = unsigned
    controllers: Sequence[Controller] = ()


def attachments(adapters: Adapters) -> ImageAttachments:
    """Return what reads and writes signatures and attestations in any registry."""
    return ImageAttachments(
        adapters.registries,
        adapters.settings.internal_host,
        HostedArtifacts(adapters.internal),
        RemoteArtifacts(RegistryPusher(adapters.client.connection)),
    )


def image_signing(adapters: Adapters, logins: BuildLogins) -> WiredSigning:
    """Return what signs images; nothing where signatures are switched off."""
    keys = adapters.signing_keys
    if keys is None:
        return WiredSigning()
    settings = adapters.settings
    builder = BuilderIdentity(settings.signing.builder_id or settings.url, __version__)
    builds = BuildSigning(
        adapters.store,
        ImageSigning(attachments(adapters), lambda: keys.signer),
        logins,
        InsecureRegistries(adapters.store, adapters.is_insecure),
        settings.internal_host,
        builder,
        now,
    )
    return WiredSigning(builds.sign_pushed, (build_signing_controller(builds, adapters.cache),))
