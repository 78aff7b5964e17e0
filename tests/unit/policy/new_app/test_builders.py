"""Builder images for languages: Dockerfiles that are read, scripts that are run."""

import os
import subprocess
from pathlib import Path

import pytest

from upwell.policy.new_app.builders import BASE, BUILDERS, PORT
from upwell.policy.new_app.dockerfile import read_dockerfile


@pytest.mark.parametrize("language", BUILDERS)
def test_the_dockerfile_is_one(language: str) -> None:
    facts = read_dockerfile(BUILDERS[language].dockerfile(BASE))
    assert (facts.base, facts.port) == (BASE, PORT)


@pytest.mark.parametrize("language", BUILDERS)
@pytest.mark.parametrize("name", ["assemble", "run"])
def test_the_scripts_that_the_dockerfile_writes_are_those_of_the_builder(
    language: str, name: str, tmp_path: Path
) -> None:
    builder = BUILDERS[language]
    lines = builder.dockerfile(BASE).splitlines()
    [line] = [one for one in lines if f"/{name} &&" in one]
    command = line.removeprefix("RUN ").replace("/usr/libexec/s2i", str(tmp_path))

    subprocess.run(["sh", "-c", command], check=True)

    script = tmp_path / name
    assert script.read_text() == builder.script(name)
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("files", "started"),
    [
        ({"Procfile": "web: python web.py --port $PORT\n", "app.py": ""}, "web.py --port 8080"),
        ({"app.sh": "echo started by app.sh\n", "app.py": ""}, "started by app.sh"),
        ({"app.py": ""}, "python app.py"),
        ({"manage.py": "", "main.py": ""}, "python manage.py runserver --noreload 0.0.0.0:8080"),
    ],
)
def test_a_python_application_is_started_by_what_is_there(
    files: dict[str, str], started: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho python "$@"\n')
    python.chmod(0o755)
    run = subprocess.run(
        ["sh", "-c", BUILDERS["python"].script("run")],
        cwd=tmp_path,
        env={"PATH": f"{python.parent}:/usr/bin:/bin", "PORT": "8080"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert started in run.stdout


@pytest.mark.parametrize(
    ("files", "target"),
    [
        ({"main.go": "package main\n"}, "."),
        ({"lib.go": "package lib\n", "cmd/shop/main.go": "package main\n"}, "./cmd/shop/"),
    ],
)
def test_the_program_of_a_go_module_is_found(
    files: dict[str, str], target: str, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    script = BUILDERS["golang"].script("assemble").replace("cp -a /tmp/src/. .", "")
    assert printed("go", script, tmp_path) == f"go build -o /opt/app-root/app {target}"


@pytest.mark.parametrize(
    ("jars", "started"),
    [
        (("target/shop-1.jar", "target/shop-1-sources.jar"), "java -jar target/shop-1.jar"),
        (("build/libs/shop.jar", "build/libs/shop-plain.jar"), "java -jar build/libs/shop.jar"),
    ],
)
def test_a_java_application_is_started_by_its_jar(
    jars: tuple[str, ...], started: str, tmp_path: Path
) -> None:
    for name in jars:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert printed("java", BUILDERS["java"].script("run"), tmp_path) == started


@pytest.mark.parametrize(
    ("files", "started"),
    [
        (("config.ru", "Gemfile"), "bundle exec puma --bind tcp://0.0.0.0:8080"),
        (("app.rb", "Gemfile"), "bundle exec ruby app.rb"),
    ],
)
def test_a_ruby_application_is_started_by_what_is_there(
    files: tuple[str, ...], started: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert printed("bundle", BUILDERS["ruby"].script("run"), tmp_path) == started


@pytest.mark.parametrize(
    ("index", "root"), [("public/index.php", "public"), ("index.php", "."), ("lib/a.php", ".")]
)
def test_the_document_root_of_a_php_application_is_found(
    index: str, root: str, tmp_path: Path
) -> None:
    (tmp_path / index).parent.mkdir(exist_ok=True)
    (tmp_path / index).touch()
    (tmp_path / "apache").mkdir()
    script = BUILDERS["php"].script("run").replace("/opt/app-root", str(tmp_path))
    printed("apache2", script, tmp_path)
    written = (tmp_path / "apache/apache.conf").read_text().splitlines()
    assert "Listen 0.0.0.0:8080" in written
    assert f"DocumentRoot {tmp_path}/{root}" in written


def printed(program: str, script: str, folder: Path) -> str:
    """Return what a script calls a program with."""
    fake = folder / "bin" / program
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho {program} "$@"\n')
    fake.chmod(0o755)
    environment = {
        "PATH": f"{fake.parent}:/usr/bin:/bin",
        "PORT": str(PORT),
        "GOCACHE": str(folder / "cache"),
        "GOMODCACHE": str(folder / "modules"),
    }
    run = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()
