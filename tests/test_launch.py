"""Every place that opens the book finds what it needs: Binder, Codespaces, a JupyterHub, GitHub's workflows.

But: none of these services is here. The workflow `newest` asks the chart's own schema; this file has a list of keys.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from repo2docker.app import Repo2Docker
from test_chapters import BUDGET_MEGABYTES
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from bow2gpt.course.launch import with_addresses
from bow2gpt.course.paths import CourseError

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
(PYTHON,) = (entry.partition("=")[2] for entry in ENVIRONMENT["dependencies"] if str(entry).startswith("python="))
CHECK_MEGABYTES = 700  # of one `bow2gpt check`: book/teaching.md

# Which settings there are, and of what kind: of the chart, after its schema, and of The Littlest JupyterHub.
NUMBER = (int, float)
KUBERNETES = {
    "hub.config.KubeSpawner.working_dir": str,
    "hub.config.KubeSpawner.notebook_dir": str,
    "singleuser.image.name": str,
    "singleuser.image.tag": str,
    "singleuser.defaultUrl": str,
    "singleuser.cpu.guarantee": NUMBER,
    "singleuser.cpu.limit": NUMBER,
    "singleuser.memory.guarantee": str,
    "singleuser.memory.limit": str,
    "singleuser.extraEnv.OMP_NUM_THREADS": str,
    "singleuser.storage.capacity": str,
    "singleuser.storage.extraVolumes": list,
    "singleuser.storage.extraVolumeMounts": list,
    "singleuser.extraFiles.nbgrader.mountPath": str,
    "singleuser.profileList": list,
}
PROFILE = {
    "display_name": str,
    "description": str,
    "default": bool,
    "kubespawner_override.image": str,
    "kubespawner_override.cpu_limit": NUMBER,
    "kubespawner_override.mem_guarantee": str,
    "kubespawner_override.mem_limit": str,
    "kubespawner_override.extra_resource_limits": dict,
}
LITTLEST = {
    "users.admin": list,
    "limits.memory": str,
    "limits.cpu": NUMBER,
    "user_environment.default_app": str,
    "services.cull.enabled": bool,
    "services.cull.timeout": int,
}


def wrong_settings(values: dict, known: dict[str, type | tuple], above: str = "") -> list[str]:
    """The settings that nobody knows, or that are of another kind."""
    problems = []
    for key, value in values.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and known.get(path) is not dict:
            problems += wrong_settings(value, known, f"{path}.")
        elif path not in known:
            problems.append(f"unknown {path}")
        elif not isinstance(value, known[path]) or (isinstance(value, bool) and known[path] is not bool):
            problems.append(f"{path} is {value!r}")
    return problems


def megabytes(text: str) -> float:
    return {"M": 1, "G": 1000}[text[-1]] * float(text[:-1])


def loaded(name: str) -> Config:
    return PyFileConfigLoader(name, path=str(DEPLOY)).load_config()


@pytest.fixture
def kubernetes() -> dict:
    return yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())


@pytest.fixture
def littlest() -> dict:
    return yaml.safe_load((DEPLOY / "littlest.yaml").read_text())


# Binder, and the hub's image


def test_repo2docker_builds_the_environment_from_the_copied_repository() -> None:
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout + done.stderr
    assert f"Building conda environment for python={PYTHON}" in said
    steps = ["src/ ${REPO_DIR}/", 'env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"', "RUN ./postBuild"]
    places = [said.index(step) for step in steps]
    assert places == sorted(places)


def test_post_build_passes_here() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["./postBuild"], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("broken", ["bow2gpt", "python"])
def test_post_build_ends_the_build_if_something_is_broken(broken: str, tmp_path: Path) -> None:
    for name in ("bow2gpt", "python"):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {int(name == broken)}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert subprocess.run(["./postBuild"], cwd=ROOT, env={**os.environ, "PATH": path}).returncode == 1


@pytest.mark.parametrize("cuda", ["", "12.8"])
def test_the_images_settings_are_repo2dockers(cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA", cuda)
    settings = loaded("image.py").Repo2Docker
    assert set(settings) <= set(Repo2Docker.class_trait_names())
    steps = settings.appendix.splitlines()
    assert all(step.startswith("RUN ") for step in steps)
    assert [step for step in steps if f"CONDA_OVERRIDE_CUDA={cuda}" in step] == steps[1:]
    assert len(steps) == 1 + bool(cuda)


# Codespaces


def test_the_devcontainer_makes_and_uses_the_environment() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    words = shlex.split(container["onCreateCommand"])
    assert words[:3] == ["conda", "env", "create"]
    assert words[words.index("--file") + 1] == "environment.yml"
    binaries = f"/opt/conda/envs/{ENVIRONMENT['name']}/bin"
    assert container["remoteEnv"]["PATH"].split(":")[0] == binaries
    special = container["customizations"]
    assert special["vscode"]["settings"]["python.defaultInterpreterPath"] == f"{binaries}/python"
    assert special["codespaces"]["openFiles"]
    assert all((ROOT / name).is_file() for name in special["codespaces"]["openFiles"])


# A JupyterHub


def test_the_hubs_settings_are_known(kubernetes: dict, littlest: dict) -> None:
    assert wrong_settings(kubernetes, KUBERNETES) == []
    for profile in kubernetes["singleuser"]["profileList"]:
        assert wrong_settings(profile, PROFILE) == []
    assert wrong_settings(littlest, LITTLEST) == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"singleuser": {"memory": {"limits": "4G"}}}, "unknown singleuser.memory.limits"),
        ({"singleuser": {"cpu": {"limit": "two"}}}, "singleuser.cpu.limit is 'two'"),
        ({"singleuser": {"cpu": {"limit": True}}}, "singleuser.cpu.limit is True"),
        ({"singleUser": {"defaultUrl": "/lab"}}, "unknown singleUser.defaultUrl"),
        ({"singleuser": {"image": "bow2gpt"}}, "unknown singleuser.image"),
    ],
)
def test_a_wrong_setting_is_found(values: dict, says: str) -> None:
    assert wrong_settings(values, KUBERNETES) == [says]


def test_there_is_memory_for_a_chapter_and_for_what_runs_beside_it(kubernetes: dict, littlest: dict) -> None:
    memory, cores = kubernetes["singleuser"]["memory"], kubernetes["singleuser"]["cpu"]
    assert megabytes(memory["guarantee"]) >= BUDGET_MEGABYTES
    assert megabytes(memory["limit"]) >= 2 * BUDGET_MEGABYTES + CHECK_MEGABYTES
    assert littlest["limits"] == {"memory": memory["limit"], "cpu": cores["limit"]}
    assert cores["limit"] == int(kubernetes["singleuser"]["extraEnv"]["OMP_NUM_THREADS"]) == 2


def test_all_users_have_one_exchange(kubernetes: dict) -> None:
    root = loaded("nbgrader_config.py").Exchange.root
    storage = kubernetes["singleuser"]["storage"]
    (volume,), (mount,) = storage["extraVolumes"], storage["extraVolumeMounts"]
    claim, job = yaml.safe_load_all((DEPLOY / "exchange.yaml").read_text())
    assert mount == {"name": volume["name"], "mountPath": root}
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pod = job["spec"]["template"]["spec"]
    (volume,), (container,) = pod["volumes"], pod["containers"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert container["command"] == ["chmod", "777", container["volumeMounts"][0]["mountPath"]]
    page = (DEPLOY / "README.md").read_text()
    assert f"mkdir -p {root} && chmod 777 {root}" in page
    assert kubernetes["singleuser"]["extraFiles"]["nbgrader"]["mountPath"] in page


@pytest.mark.parametrize(("name", "checked"), [("jupyter-ada", True), ("jovyan", False)])
def test_the_owner_of_a_submission_counts_where_users_are_unix_users(
    name: str, checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pwd.getpwuid", lambda number: SimpleNamespace(pw_name=name))
    assert loaded("nbgrader_config.py").ExchangeCollect.check_owner is checked


def test_a_students_home_does_not_hide_the_library(kubernetes: dict) -> None:
    home = Path(kubernetes["hub"]["config"]["KubeSpawner"]["working_dir"])
    assert home == Path("/home", loaded("image.py").Repo2Docker.user_name)
    assert not Path(loaded("image.py").Repo2Docker.target_repo_dir).is_relative_to(home)


def test_the_page_builds_the_images_that_the_hub_starts(kubernetes: dict) -> None:
    image = kubernetes["singleuser"]["image"]
    wanted = [f"{image['name']}:{image['tag']}"]
    profiles = kubernetes["singleuser"]["profileList"]
    wanted += [p["kubespawner_override"]["image"] for p in profiles if "kubespawner_override" in p]
    assert re.findall(r"--image-name (\S+)", (DEPLOY / "README.md").read_text()) == wanted


def test_the_hubs_link_brings_the_book_and_opens_its_first_page() -> None:
    (link,) = re.findall(r"^https://YOUR-HUB/\S+$", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    query = parse_qs(urlsplit(link).query)
    (repository,), (page,) = query["repo"], query["urlpath"]
    assert repository == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    folder, _, path = page.removeprefix("lab/tree/").partition("/")
    assert folder == repository.rpartition("/")[2]
    assert (ROOT / path).is_file()


def test_another_repository_changes_every_address(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\n[project.urls]\nRepository = "https://github.com/me/mine"\n')
    for page in (Path("README.md"), Path("deploy/README.md")):
        (tmp_path / page).write_text((ROOT / page).read_text())
        made = with_addresses(tmp_path, page)
        assert "bow2gpt/bow2gpt" not in made.replace("%2F", "/")
        assert "me/mine" in made.replace("%2F", "/")
        (tmp_path / page).write_text("nothing\n")
        with pytest.raises(CourseError, match=f"{page} has no place for the"):
            with_addresses(tmp_path, page)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(CourseError, match="got the Repository ''"):
        with_addresses(tmp_path, page)


# GitHub's workflows

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_names_what_exists(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert (ROOT / job["uses"]).is_file() if "uses" in job else job["timeout-minutes"] <= 180
        commands = " ".join(step.get("run", "") for step in job.get("steps", ()))
        assert set(re.findall(r"make (\w+)", commands)) <= set(targets)
        assert all((ROOT / name).is_file() for name in re.findall(r"deploy/[\w.]+", commands))


def test_the_weekly_workflow_takes_the_newest_packages_on_the_oldest_python_and_colabs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text())
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` as true
    test = workflow["jobs"]["test"]
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert test["strategy"]["matrix"]["python"] == [oldest, PYTHON]
    command = ["make", "--always-make", "--dry-run", "test", f"CONSTRAINTS={test['with']['constraints']}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    installs = [line for line in said.splitlines() if "pip install" in line]
    assert len(installs) == (ROOT / "Makefile").read_text().count("/pip install")
    assert not any("constraints.txt" in line for line in installs)
