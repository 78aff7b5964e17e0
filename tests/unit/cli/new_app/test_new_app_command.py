"""`new-app`: what it makes of its arguments, refuses, saves and says."""

import asyncio
import base64
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.unit.cli.conftest import stream

from upwell.api.image import ImageStreamTag
from upwell.api.meta import ObjectMeta
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

NO_REPOSITORY = "file:///nowhere/a.git"
COMMITS = "commits are found by looks at the repository, at intervals; its webhook is quicker"
SHOP = "python:3.11~https://git.test/shop.git"
TEMPLATE = """\
apiVersion: template.openshift.io/v1
kind: Template
metadata: {name: settings}
message: "the level is ${LEVEL}"
parameters: [{name: LEVEL, required: true}]
objects:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {level: "${LEVEL}"}}
"""


def items(result: "Result") -> dict[str, dict[str, Any]]:
    """Return what `-o yaml` printed, by kind and name."""
    assert result.exit_code == 0, result.stderr
    listed = yaml.safe_load(result.stdout)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in listed}


def port_of(result: "Result", name: str) -> int:
    port: int = items(result)[f"Service/{name}"]["spec"]["ports"][0]["port"]
    return port


def test_a_builder_and_a_repository_become_all_that_is_needed(upwell: Upwell) -> None:
    made = upwell("new-app", SHOP, "--expose")
    lines = [line for line in made.stderr.splitlines() if line.startswith("next: ")]

    assert made.stdout.splitlines() == [
        "secret/shop-webhooks created",
        "imagestream.image.openshift.io/python created",
        "imagestream.image.openshift.io/shop created",
        "buildconfig.build.openshift.io/shop created",
        "service/shop created",
        "deployment.apps/shop created",
        "route.route.openshift.io/shop created",
    ]
    assert [line.partition("`")[0] for line in lines] == [
        "next: the first build starts once python:3.11 is imported: ",
        f"next: {COMMITS}: ",
        "next: ",
        "next: ",
    ]
    assert "upwell start-build shop --list-webhooks all" in lines[2]
    assert "upwell get route shop" in lines[3]
    assert "upwell status" in made.stderr


def test_commits_are_looked_for_unless_it_is_refused(upwell: Upwell, client: "FakeClient") -> None:
    followed = items(upwell("new-app", SHOP, "-o", "yaml"))["BuildConfig/shop"]
    assert followed["metadata"]["annotations"] == {"upwell.dev/follow-commits": "true"}
    client.forbidden.add("Secret")
    alone = upwell("new-app", SHOP, "--no-follow-commits")
    assert "next: nothing looks for commits: `upwell start-build shop`" in alone.stderr
    made = yaml.safe_load(upwell("get", "bc/shop", "-o", "yaml").stdout)
    assert "annotations" not in made["metadata"]


def test_webhooks_share_a_secret_of_their_own(upwell: Upwell) -> None:
    first, second = [items(upwell("new-app", SHOP, "-o", "yaml")) for _ in range(2)]

    triggers = first["BuildConfig/shop"]["spec"]["triggers"]
    hook = {"secretReference": {"name": "shop-webhooks"}}
    assert [trigger["type"] for trigger in triggers[:2]] == ["GitHub", "Generic"]
    assert (triggers[0]["github"], triggers[1]["generic"]) == (hook, hook)
    values = [made["Secret/shop-webhooks"]["data"]["WebHookSecretKey"] for made in (first, second)]
    assert len(base64.b64decode(values[0])) >= 20
    assert values[0] != values[1]


def test_who_may_keep_no_secret_gets_an_application_without_webhooks(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.forbidden.add("Secret")
    made = upwell("new-app", SHOP)

    assert made.exit_code == 0, made.stderr
    assert "secret/" not in made.stdout
    assert "note: shop gets no webhooks: " in made.stderr
    config = yaml.safe_load(upwell("get", "bc/shop", "-o", "yaml").stdout)
    assert {trigger["type"] for trigger in config["spec"]["triggers"]} == {
        "ConfigChange",
        "ImageChange",
    }


def test_addresses_are_told_of_all_that_becomes_of_it(upwell: Upwell) -> None:
    told = ("--notify", "json://notices.test", "--notify", "https://hooks.test/upwell")
    made = items(upwell("new-app", SHOP, *told, "-o", "yaml"))

    assert base64.b64decode(made["Secret/shop-notice"]["data"]["urls"]) == b"json://notices.test"
    people, hook = made["Subscription/shop-notice"], made["Subscription/shop-webhook"]
    assert people["spec"]["notice"] == {"secret": {"name": "shop-notice"}}
    assert hook["spec"]["webhook"]["url"] == "https://hooks.test/upwell"
    assert people["spec"]["filter"] == hook["spec"]["filter"]
    subjects = people["spec"]["filter"]["subjects"]
    assert {"default/Deployment/shop", "default/Build/shop-[0-9]*"} <= set(subjects)


def test_notices_are_of_each_stage_too(upwell: Upwell) -> None:
    stages = ("--stages", "dev,live", "--notify", "json://notices.test")
    listed = yaml.safe_load(upwell("new-app", SHOP, *stages, "-o", "yaml").stdout)["items"]
    told = {
        one["metadata"].get("namespace", "default"): one["spec"]["filter"]["subjects"]
        for one in listed
        if one["kind"] == "Subscription"
    }
    secrets = {one["metadata"].get("namespace") for one in listed if one["kind"] == "Secret"}
    assert set(told) == {"default", "shop-dev", "shop-live"} <= secrets | {"default"}
    assert "shop-live/Deployment/shop" in told["shop-live"]


def test_what_exists_is_never_changed(upwell: Upwell) -> None:
    assert upwell("new-app", SHOP).exit_code == 0
    before = upwell("get", "all", "-o", "json").stdout

    again = upwell("new-app", SHOP, "-e", "LEVEL=2")

    assert again.exit_code == 2
    assert "these objects exist: " in again.stderr
    assert "deployment.apps/shop" in again.stderr
    assert "--name" in again.stderr
    assert upwell("get", "all", "-o", "json").stdout == before


def test_two_applications_share_the_stream_of_their_base(upwell: Upwell) -> None:
    assert upwell("new-app", SHOP).exit_code == 0

    same = upwell("new-app", SHOP, "--name=store")
    other = upwell("new-app", "python:3.12~https://git.test/shop.git", "--name=market")

    assert "imagestream.image.openshift.io/python" not in same.stdout
    assert "imagestream.image.openshift.io/python configured" in other.stdout
    tags = yaml.safe_load(upwell("get", "is/python", "-o", "yaml").stdout)["spec"]["tags"]
    assert [tag["name"] for tag in tags] == ["3.11", "3.12"]


def test_several_components_are_made_at_once(upwell: Upwell) -> None:
    made = upwell(
        "new-app", "python:3.11~https://git.test/a.git", "python:3.12~https://git.test/b.git"
    )

    assert made.exit_code == 0, made.stderr
    assert made.stdout.count("imagestream.image.openshift.io/python created") == 1
    tags = yaml.safe_load(upwell("get", "is/python", "-o", "yaml").stdout)["spec"]["tags"]
    assert [tag["name"] for tag in tags] == ["3.11", "3.12"]


def test_printed_and_dry_runs_make_nothing(upwell: Upwell) -> None:
    printed = items(upwell("new-app", SHOP, "-o", "yaml"))
    dry = upwell("new-app", SHOP, "--dry-run")

    assert set(printed) >= {"BuildConfig/shop", "Deployment/shop", "Service/shop"}
    assert dry.stdout.count("created (server dry run)") == 6
    assert upwell("get", "all", "-o", "name").stdout == ""


def test_saved_manifests_change_nothing_when_they_are_applied(
    upwell: Upwell, tmp_path: Path
) -> None:
    file = tmp_path / "shop.yaml"

    made = upwell("new-app", SHOP, "--save", str(file), "-e", "PASSWORD=hunter2", "-n", "team")
    again = upwell("apply", "-f", str(file), "-n", "team")

    assert f"saved: {file}" in made.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}
    assert len(again.stdout.splitlines()) == 6


def test_a_file_that_exists_is_not_overwritten(upwell: Upwell, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("mine")

    result = upwell("new-app", SHOP, "--save", str(file))

    assert result.exit_code == 2
    assert "File exists" in result.stderr
    assert file.read_text() == "mine"
    assert upwell("get", "all", "-o", "name").stdout == ""


def test_an_image_is_run_under_any_name(upwell: Upwell) -> None:
    made = items(
        upwell("new-app", "--image=registry.test/nginx:1.27", "--name=front", "-o", "yaml")
    )

    assert list(made) == ["ImageStream/nginx", "Service/front", "Deployment/front"]


@pytest.fixture
async def imported(client: "FakeClient") -> None:
    """Store the tag `web:1` of an image that exposes port 9000."""
    await client.put(stream("web", "1", f"sha256:{'a' * 64}", upstream="vendor.test/web"))
    metadata = ObjectMeta(name="web:1", namespace="default")
    config: dict[str, Any] = {"ExposedPorts": {"9000/tcp": {}}, "Volumes": {"/var/lib/web": {}}}
    image = {"dockerImageMetadata": {"Config": config}}
    await client.create(ImageStreamTag(metadata=metadata, image=image))


@pytest.mark.usefixtures("imported")
def test_the_port_of_an_image_that_is_there_is_used(upwell: Upwell) -> None:
    read = upwell("new-app", "web:1", "-o", "yaml")
    given = upwell("new-app", "web:1", "-o", "yaml", "--port=81")

    assert (port_of(read, "web"), port_of(given, "web")) == (9000, 81)
    assert "assumed" not in read.stderr
    for told in (read, given):
        assert "declares the volume /var/lib/web, at which nothing is mounted" in told.stderr


def test_an_assumed_port_is_told(upwell: Upwell) -> None:
    result = upwell("new-app", "registry.test/web", "-o", "yaml")

    assert port_of(result, "web") == 8080
    assert "assuming port 8080" in result.stderr


def test_a_template_is_processed_and_applied(upwell: Upwell, tmp_path: Path) -> None:
    file = tmp_path / "template.yaml"
    file.write_text(TEMPLATE)

    made = upwell("new-app", "-f", str(file), "-p", "LEVEL=loud", "--name=quiet", "-l", "team=web")

    assert made.stdout == "configmap/settings created\n"
    assert "note: the level is loud" in made.stderr
    kept = yaml.safe_load(upwell("get", "cm/settings", "-o", "yaml").stdout)
    assert kept["metadata"]["labels"] == {"app": "quiet", "team": "web"}


def test_a_template_that_labels_its_objects_keeps_its_labels(upwell: Upwell) -> None:
    labelled = f"{TEMPLATE}labels: {{app: own}}\n"

    made = items(upwell("new-app", "-f", "-", "-p", "LEVEL=low", "-o", "yaml", stdin=labelled))

    assert made["ConfigMap/settings"]["metadata"]["labels"] == {"app": "own"}


@pytest.mark.parametrize("arguments", [("settings",), ("--template", "settings")])
def test_a_template_of_the_server_is_found_by_its_name(
    upwell: Upwell, arguments: tuple[str, ...]
) -> None:
    assert upwell("apply", "-f", "-", stdin=TEMPLATE).exit_code == 0

    made = upwell("new-app", *arguments, "-p", "LEVEL=loud")

    assert made.stdout == "configmap/settings created\n"


def test_a_template_that_cannot_be_processed_makes_nothing(upwell: Upwell) -> None:
    assert upwell("apply", "-f", "-", stdin=TEMPLATE).exit_code == 0

    result = upwell("new-app", "settings")

    assert result.exit_code == 2
    assert "parameter 'LEVEL' is required" in result.stderr


def test_variables_come_from_files_and_the_command_line_wins(
    upwell: Upwell, tmp_path: Path
) -> None:
    file = tmp_path / "values.env"
    file.write_text("A=1\nB=2\n")

    made = items(upwell("new-app", SHOP, "--env-file", str(file), "-e", "B=3", "-o", "yaml"))

    container = made["Deployment/shop"]["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone with a remote, on a branch of that, with a folder `web`."""
    folder = tmp_path / "shop"
    (folder / "web").mkdir(parents=True)
    (folder / "web" / "Dockerfile").write_text("FROM vendor.test/debian:12\nEXPOSE 9000\n")
    for arguments in (
        ("init", "-q", "-b", "work"),
        ("remote", "add", "origin", "https://git.test/team/shop.git"),
        ("config", "branch.work.remote", "origin"),
        ("config", "branch.work.merge", "refs/heads/main"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "start"),
        ("update-ref", "refs/remotes/origin/main", "HEAD"),
    ):
        subprocess.run(["git", "-C", str(folder), *arguments], check=True)
    return folder


def test_a_repository_is_looked_into(upwell: Upwell, clone: Path) -> None:
    result = upwell("new-app", f"file://{clone}#work", "--context-dir=web", "-o", "yaml")

    config = items(result)["BuildConfig/shop"]["spec"]
    assert config["source"]["git"] == {"uri": f"file://{clone}", "ref": "work"}
    assert config["strategy"]["dockerStrategy"]["from"]["name"] == "debian:12"
    assert port_of(result, "shop") == 9000


def test_a_repository_without_a_dockerfile_needs_a_builder(upwell: Upwell, clone: Path) -> None:
    refused = upwell("new-app", f"file://{clone}")

    assert refused.exit_code == 2
    assert "no builder for the repository, in which there is no Dockerfile" in refused.stderr


async def test_the_builder_of_its_language_is_named(
    upwell: Upwell, client: "FakeClient", clone: Path
) -> None:
    (clone / "web" / "Dockerfile").unlink()
    (clone / "web" / "cpanfile").touch()
    needs = ("new-app", str(clone), "--context-dir=web")
    refused = await asyncio.to_thread(upwell, *needs)
    assert "no Dockerfile, and perl source: write BUILDER~REPOSITORY" in refused.stderr

    await client.put(stream("perl", "5.40", f"sha256:{'a' * 64}"))
    refused = await asyncio.to_thread(upwell, *needs)
    assert "no Dockerfile, and perl source: write perl:5.40~REPOSITORY" in refused.stderr


def test_a_language_with_a_builder_image_gets_it(upwell: Upwell, clone: Path) -> None:
    (clone / "web" / "Dockerfile").unlink()
    (clone / "web" / "requirements.txt").touch()

    result = upwell("new-app", str(clone), "--context-dir=web", "-o", "yaml")

    made = items(result)
    assert {"BuildConfig/python-builder", "ImageStream/python-builder"} <= made.keys()
    builder = made["BuildConfig/python-builder"]["spec"]
    assert builder["strategy"]["dockerStrategy"]["from"]["name"] == "debian:13"
    assert [one["type"] for one in builder["triggers"]] == ["ConfigChange", "ImageChange"]
    source = made["BuildConfig/shop"]["spec"]["strategy"]["sourceStrategy"]
    assert source["from"]["name"] == "python-builder:latest"
    assert port_of(result, "shop") == 8080
    assert "Deployment/python-builder" not in made


@pytest.mark.parametrize(
    ("file", "language"),
    [
        ("composer.json", "php"),
        ("Gemfile", "ruby"),
        ("pom.xml", "java"),
        ("gradlew", "java"),
        ("build.gradle.kts", "java"),
        ("go.mod", "golang"),
    ],
)
def test_a_package_json_for_assets_does_not_make_it_node(
    upwell: Upwell, clone: Path, file: str, language: str
) -> None:
    (clone / "web" / "Dockerfile").unlink()
    for name in (file, "package.json"):
        (clone / "web" / name).touch()

    made = items(upwell("new-app", str(clone), "--context-dir=web", "-o", "yaml"))

    source = made["BuildConfig/shop"]["spec"]["strategy"]["sourceStrategy"]
    assert source["from"]["name"] == f"{language}-builder:latest"


async def test_a_stream_called_like_the_language_is_not_taken_for_a_builder(
    upwell: Upwell, client: "FakeClient", clone: Path
) -> None:
    (clone / "web" / "Dockerfile").unlink()
    (clone / "web" / "requirements.txt").touch()
    await client.put(stream("python", "3", f"sha256:{'a' * 64}"))

    result = await asyncio.to_thread(
        upwell, "new-app", str(clone), "--context-dir=web", "-o", "yaml"
    )

    source = items(result)["BuildConfig/shop"]["spec"]["strategy"]["sourceStrategy"]
    assert source["from"]["name"] == "python-builder:latest"
    assert "python:3 is here too: if it is a builder image, write python:3~" in result.stderr


def test_a_folder_that_is_not_there_is_no_image(upwell: Upwell, tmp_path: Path) -> None:
    refused = upwell("new-app", f"{tmp_path}/shop")
    assert f"{tmp_path}/shop: no such folder" in refused.stderr


def test_a_builder_that_is_there_is_taken(upwell: Upwell, clone: Path) -> None:
    assert upwell("builders", "create", "python").exit_code == 0
    assert "python-builder:latest   not yet" in upwell("builders", "list").stdout
    (clone / "web" / "Dockerfile").unlink()
    (clone / "web" / "requirements.txt").touch()

    made = items(upwell("new-app", str(clone), "--context-dir=web", "-o", "yaml"))

    assert not [one for one in made if "python-builder" in one]
    source = made["BuildConfig/shop"]["spec"]["strategy"]["sourceStrategy"]
    assert source["from"]["name"] == "python-builder:latest"


def test_stages_that_need_an_approval(upwell: Upwell) -> None:
    staged = ("new-app", SHOP, "--stages", "dev,production", "-o", "yaml")
    dev, production = items(upwell(*staged, "--approve", "production"))["Pipeline/shop"]["spec"][
        "stages"
    ]
    assert "approval" not in dev
    assert "approval" in production
    assert "no such stage; there are dev, production" in upwell(*staged, "--approve", "qa").stderr
    assert "--approve needs stages" in upwell("new-app", SHOP, "--approve", "qa").stderr


@pytest.mark.parametrize("kind", ["Deployment", "DeploymentConfig"])
def test_a_volume_is_kept_and_held_by_one_instance(upwell: Upwell, kind: str) -> None:
    given = ["--as-deployment-config"] if kind == "DeploymentConfig" else []
    spec = items(upwell("new-app", SHOP, "--volume", "/var/lib/Data", *given, "-o", "yaml"))[
        f"{kind}/shop"
    ]["spec"]
    assert spec["strategy"]["type"] == "Recreate"
    pod = spec["template"]["spec"]
    assert pod["volumes"] == [
        {"name": "shop-data", "persistentVolumeClaim": {"claimName": "shop-data"}}
    ]
    [container] = pod["containers"]
    assert container["volumeMounts"] == [{"name": "shop-data", "mountPath": "/var/lib/Data"}]


@pytest.mark.parametrize("text", ["data", "=/a", "/", "a=b", "X=/a"])
def test_a_volume_that_is_none_is_refused(upwell: Upwell, text: str) -> None:
    refused = upwell("new-app", SHOP, "--volume", text)
    assert refused.exit_code == 2
    assert "nothing was created" in refused.stderr


def test_the_whole_address_of_a_webhook_is_told(upwell: Upwell) -> None:
    told = [one for one in upwell("new-app", SHOP).stderr.splitlines() if "webhook: " in one]
    assert len(told) == 2
    place = "/apis/build.openshift.io/v1/namespaces/default/buildconfigs/shop/webhooks/"
    assert told[0].startswith(f"webhook: http://127.0.0.1:7080{place}")
    assert told[0].endswith("/github")
    assert "<secret>" not in told[0]


def test_a_dockerfile_that_leads_out_of_its_repository_is_not_read(
    upwell: Upwell, clone: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text("FROM vendor.test/secret:1\n")
    (clone / "web" / "Dockerfile").unlink()
    (clone / "web" / "Dockerfile").symlink_to(tmp_path / "own")
    for arguments in (
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "b"),
    ):
        subprocess.run(["git", "-C", str(clone), *arguments], check=True)

    refused = upwell("new-app", f"file://{clone}", "--context-dir=web")

    assert refused.exit_code == 2
    assert "leads out of" in refused.stderr


@pytest.mark.parametrize(("inner", "context_dir"), [("", "web"), ("web", "")])
def test_a_clone_tells_the_address_the_branch_and_the_dockerfile(
    upwell: Upwell, clone: Path, inner: str, context_dir: str
) -> None:
    result = upwell("new-app", str(clone / inner), "--context-dir", context_dir, "-o", "yaml")

    config = items(result)["BuildConfig/shop"]["spec"]
    assert config["source"] == {
        "type": "Git",
        "git": {"uri": "https://git.test/team/shop.git", "ref": "main"},
        "contextDir": "web",
    }
    assert config["strategy"]["dockerStrategy"]["from"]["name"] == "debian:12"
    assert port_of(result, "shop") == 9000


def test_a_clone_without_a_dockerfile_needs_a_builder(upwell: Upwell, clone: Path) -> None:
    bare = upwell("new-app", str(clone), "-o", "yaml")
    built = items(upwell("new-app", f"python:3.11~{clone}", "-o", "yaml"))

    assert bare.exit_code == 2
    assert "BUILDER~REPOSITORY" in bare.stderr
    assert "sourceStrategy" in built["BuildConfig/shop"]["spec"]["strategy"]


def test_a_dockerfile_without_end_is_refused(upwell: Upwell, clone: Path) -> None:
    (clone / "web" / "Dockerfile").write_text("FROM a\n" + "#" * MAX_DOCKERFILE_BYTES)

    result = upwell("new-app", str(clone / "web"))

    assert result.exit_code == 2
    assert f"larger than {MAX_DOCKERFILE_BYTES} bytes" in result.stderr


def test_without_git_an_address_is_asked_for(
    upwell: Upwell, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    result = upwell("new-app", str(clone))

    assert result.exit_code == 2
    assert "git is not installed" in result.stderr


def test_a_folder_that_is_no_clone_is_refused(upwell: Upwell, tmp_path: Path) -> None:
    result = upwell("new-app", str(tmp_path))

    assert result.exit_code == 2
    assert "not a clone with a remote `origin`" in result.stderr


def test_a_dockerfile_that_nobody_has_read_is_told(upwell: Upwell) -> None:
    result = upwell("new-app", NO_REPOSITORY, "--strategy=docker", "-o", "yaml")

    assert "cannot look into file:///nowhere/a.git" in result.stderr
    assert "their changes do not start a build" in result.stderr
    triggers = items(result)["BuildConfig/a"]["spec"]["triggers"]
    assert [trigger["type"] for trigger in triggers] == ["GitHub", "Generic", "ConfigChange"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name an image"),
        ((NO_REPOSITORY,), "--strategy=docker"),
        (("nginx", "httpd", "--name=web"), "--name needs a single application"),
        (("nginx", "--name=Web"), "is not a valid application name"),
        (("NGINX",), "not an image reference"),
        (("python~https://eve:hunter2@git.test/a.git",), "--source-secret"),
    ],
)
def test_what_cannot_be_made_is_refused(
    upwell: Upwell, arguments: tuple[str, ...], why: str
) -> None:
    result = upwell("new-app", *arguments)

    assert result.exit_code == 2
    assert why in result.stderr
    assert "hunter2" not in result.stderr
    assert upwell("get", "all", "-o", "name").stdout == ""


def test_stages_get_a_pipeline_and_namespaces_of_their_own(upwell: Upwell) -> None:
    made = upwell("new-app", SHOP, "--stages", "dev,production", "--test", "true", "--expose")

    assert made.exit_code == 0, made.stderr
    assert "pipeline.upwell.dev/shop created" in made.stdout.splitlines()
    assert made.stdout.count("deployment.apps/shop created") == 2
    assert "shop goes through dev, then production: `upwell pipeline status shop`" in made.stderr
    assert "shop-dev, shop-production" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((SHOP, "--test", "true"), "--test needs stages"),
        ((SHOP, "--stages", "dev,dev"), "stage dev is given twice"),
        (("-f", "-", "--stages", "dev"), "--stages does not apply to templates"),
        (("-f", "-", "--notify", "json://a.test"), "--notify does not apply to templates"),
    ],
)
def test_options_that_cannot_be_met_change_nothing(
    upwell: Upwell, arguments: tuple[str, ...], said: str
) -> None:
    made = upwell("new-app", *arguments, stdin=TEMPLATE)

    assert (made.exit_code, made.stdout) == (2, "")
    assert said in made.stderr


def test_a_build_alone_runs_nothing(upwell: Upwell) -> None:
    made = items(upwell("new-build", SHOP, "-o", "yaml"))

    kinds = {what.partition("/")[0] for what in made}
    assert kinds == {"ImageStream", "BuildConfig", "Secret"}
    assert made["BuildConfig/shop"]["spec"]["strategy"]["sourceStrategy"]


def test_a_build_of_uploads_waits_for_the_first(upwell: Upwell) -> None:
    result = upwell("new-build", "python:3.11", "--binary", "--name=shop", "-o", "yaml")
    spec = items(result)["BuildConfig/shop"]["spec"]

    assert spec["source"]["type"] == "Binary"
    assert spec["strategy"]["sourceStrategy"]["from"]["name"] == "python:3.11"
    assert [one["type"] for one in spec["triggers"]] == ["ImageChange"]


@pytest.mark.usefixtures("imported")
def test_a_result_goes_into_the_tag_that_is_named(upwell: Upwell) -> None:
    own = ("new-build", "-D", "FROM alpine", "--name=tools", "-o", "yaml")
    made = items(upwell(*own, "--to=results:new"))
    assert made["BuildConfig/tools"]["spec"]["output"]["to"]["name"] == "results:new"
    assert {"ImageStream/results", "ImageStream/alpine"} <= made.keys()

    kept = items(upwell(*own, "--to=web"))
    assert kept["BuildConfig/tools"]["spec"]["output"]["to"]["name"] == "web:latest"
    assert "ImageStream/web" not in kept  # it stays as it is

    for tag, code in (("alpine:mine", 0), ("alpine:latest", 2), ("a.test/b", 2)):
        assert upwell(*own, f"--to={tag}").exit_code == code


@pytest.mark.usefixtures("imported")
def test_a_tag_of_a_stream_is_never_an_image_elsewhere(upwell: Upwell) -> None:
    made = items(upwell("new-app", "--image-stream=web:1", "--name=front", "-o", "yaml"))
    assert {what.partition("/")[0] for what in made} == {"Deployment", "Service"}

    built = items(upwell("new-build", "-i", "web:1", "--binary", "--name=site", "-o", "yaml"))
    strategy = built["BuildConfig/site"]["spec"]["strategy"]
    assert strategy["sourceStrategy"]["from"]["name"] == "web:1"

    refused = upwell("new-app", "-i", "nginx")
    assert (refused.exit_code, "has no such tag" in refused.stderr) == (2, True)


def test_a_build_of_a_dockerfile_follows_its_images(upwell: Upwell) -> None:
    text = "FROM golang:1 AS made\nFROM debian:12\nCOPY --from=made /a /a\n"
    result = upwell("new-build", "--name=tools", "-D", "-", "-o", "yaml", stdin=text)
    spec = items(result)["BuildConfig/tools"]["spec"]

    assert spec["source"] == {"type": "Dockerfile", "dockerfile": text}
    assert spec["strategy"]["dockerStrategy"]["from"]["name"] == "debian:12"
    assert [one["type"] for one in spec["triggers"]] == [
        "ConfigChange",
        "ImageChange",
        "ImageChange",
    ]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nginx",), "there is nothing to build from it"),
        (("--binary",), "nothing gives the build a name"),
        ((), "name an image, a repository"),
    ],
)
def test_a_build_of_nothing_is_refused(
    upwell: Upwell, arguments: tuple[str, ...], why: str
) -> None:
    result = upwell("new-build", *arguments)

    assert result.exit_code == 2
    assert why in result.stderr
