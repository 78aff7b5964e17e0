import json

import pytest

from upwell.api.builds.inputs import BuildStrategy
from upwell.policy.builds.volumes import MissingKeyError, source_mounts
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName

KEYS = {"a": b"1", "b": b"2"}


def strategy(**volume: object) -> BuildStrategy:
    volumes = [{"name": "v", "source": volume, "mounts": [{"destinationPath": "/x"}]}]
    return read({"dockerStrategy": {"volumes": volumes}})


def read(document: dict[str, object]) -> BuildStrategy:
    return BuildStrategy.model_validate_json(json.dumps(document))


def test_a_volume_shows_every_key_of_its_source() -> None:
    [volume] = source_mounts(strategy(type="Secret", secret={"secretName": "s"}))
    assert (volume.source, volume.targets) == (SourceName(SECRET, "s"), ("/x",))
    assert volume.files(KEYS) == KEYS


def test_items_choose_keys_and_name_their_files() -> None:
    items = [{"key": "b", "path": "deep/c"}]
    [volume] = source_mounts(strategy(configMap={"name": "m", "items": items}))
    assert volume.source == SourceName(CONFIG_MAP, "m")
    assert volume.files(KEYS) == {"deep/c": b"2"}


@pytest.mark.parametrize("optional", [True, False])
def test_a_key_that_is_missing_is_named_unless_it_may_be(*, optional: bool) -> None:
    items = [{"key": "a", "path": "a"}, {"key": "z", "path": "z"}]
    source = {"secretName": "s", "items": items, "optional": optional}
    [volume] = source_mounts(strategy(secret=source))
    assert volume.optional is optional
    if optional:
        assert volume.files(KEYS) == {"a": b"1"}
        return
    with pytest.raises(MissingKeyError, match="volume v: Secret s has no key 'z'"):
        volume.files(KEYS)


def test_secrets_of_a_custom_builder_are_volumes() -> None:
    secrets = [{"secretSource": {"name": "s"}, "mountPath": "/var/s"}]
    custom: dict[str, object] = {"customStrategy": {"from": {"name": "x"}, "secrets": secrets}}
    [volume] = source_mounts(read(custom))
    assert (volume.source, volume.targets) == (SourceName(SECRET, "s"), ("/var/s",))
