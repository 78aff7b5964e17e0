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
from upwell.reconcilers.images.packages import ImageContents
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.signing.builds import BuildSigning, build_signing_controller
from upwell.reconcilers.signing.images import ImageSigning
from upwell.reconcilers.signing.packages import PackageSigning, package_signing_controller
from upwell.reconcilers.signing.promotions import (
    VerdictPorts,
    VerdictSigning,
    verdict_signing_controller,
)
from upwell.reconcilers.signing.pushed import PushedImages
from upwell.reconcilers.signing.reporting import ConditionWriter
from upwell.registry.attachments.targets import HostedArtifacts, RemoteArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.client.push import RegistryPusher
from upwell.signing.key_signer import KeySigner


@dataclass(frozen=True, slots=True)
class WiredSigning:
    """Signer of pushed images, and the controllers that see to the rest."""

    sign_pushed: SignPushed = unsigned
    controllers: Sequence[Controller] = ()


def attachments(adapters: Adapters) -> ImageAttachments:
    """Return what reads and writes signatures and attestations in any registry."""
    remote = RemoteArtifacts(adapters.registries, RegistryPusher(adapters.client.connection))
    embedded = adapters.embedded
    hosted = remote if embedded is None else HostedArtifacts(embedded)
    return ImageAttachments(adapters.registries, adapters.embedded_host, hosted, remote)


def image_signing(adapters: Adapters, logins: BuildLogins, contents: ImageContents) -> WiredSigning:
    """Return what signs images; nothing where signatures are switched off."""
    keys = adapters.signing_keys
    if keys is None:
        return WiredSigning()
    settings = adapters.settings
    builder = BuilderIdentity(settings.signing.builder_id or settings.url, __version__)
    others = [adapters.keyless] if adapters.keyless is not None else []
    signing = ImageSigning(attachments(adapters), KeySigner(lambda: keys.signer), others)
    insecure = InsecureRegistries(adapters.store, adapters.is_insecure)
    conditions = ConditionWriter(adapters.store, now)
    host, cache = adapters.embedded_host, adapters.cache
    images = PushedImages(logins, insecure, settings.image_prefix, host)
    builds = BuildSigning(adapters.store, signing, images, builder, conditions)
    packages = PackageSigning(adapters.store, signing, images, contents, conditions)
    secrets = PullSecrets(adapters.store, adapters.logins)
    ports = VerdictPorts(signing, secrets, insecure, host, settings.public_url)
    verdicts = VerdictSigning(adapters.store, ports, conditions)
    return WiredSigning(
        builds.sign_pushed,
        (
            build_signing_controller(builds, cache),
            package_signing_controller(packages, cache),
            verdict_signing_controller(verdicts, cache),
        ),
    )
