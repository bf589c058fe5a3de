"""The three lists of dependencies agree: pyproject.toml is the truth, environment.yml and constraints.txt follow it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}


def conda_disagreements(environment: dict, project: dict) -> list[str]:
    """What an environment file says otherwise than the project's metadata."""
    needed = project["dependencies"] + project["optional-dependencies"]["lab"]
    truth = {r.name: r.specifier for r in map(Requirement, needed)}
    problems = []
    for entry in environment["dependencies"]:
        if not isinstance(entry, str) or entry == "pip":
            continue
        if python := re.fullmatch(r"python=(\d+\.\d+)", entry):  # repo2docker understands no other form
            if python[1] not in SpecifierSet(project["requires-python"]):
                problems.append(f"python is {python[1]}, pyproject.toml says {project['requires-python']}")
            continue
        wanted = Requirement(entry)
        name = CONDA_NAMES.get(wanted.name, wanted.name)
        right = truth.get(name)
        if right is None:
            problems.append(f"{name} is not in pyproject.toml")
        elif str(wanted.specifier) != str(right):
            problems.append(f"{name}: environment.yml says {wanted.specifier}, pyproject.toml says {right}")
    return problems


def test_environment_yml_agrees_with_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda_disagreements(environment, PROJECT) == []
    assert environment["channels"] == ["conda-forge"]
    names = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    for needed in ("python", "pytorch", "jupyterlab", "nbgrader", "jupytext", "matplotlib", "pip"):
        assert any(re.match(rf"{needed}\b", name) for name in names), f"environment.yml lacks {needed}"
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    (extras,) = (re.fullmatch(r"-e \.\[(.*)\]", line)[1].split(",") for line in pip)
    assert "lab" in extras
    assert set(extras) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("entry", ["numpy>=1.0", "pytorch>=1.13", "left-pad", "python=3.8", "python>=3.11"])
def test_a_disagreement_is_found(entry: str) -> None:
    assert conda_disagreements({"dependencies": [entry]}, PROJECT)


def test_constraints_pin_every_dependency_within_its_range() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {(pin := Requirement(line)).name.lower().replace("_", "-"): next(iter(pin.specifier)) for line in lines}
    assert all(pin.operator == "==" for pin in pins.values())
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for wanted in map(Requirement, sum(groups, [])):
        assert wanted.specifier.contains(pins[wanted.name.lower()].version), f"constraints.txt: {wanted.name}"


def test_the_makefile_installs_the_extras_that_the_environment_does() -> None:
    (extras,) = re.findall(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"-e .[{extras}]" in (ROOT / "environment.yml").read_text()


def test_importing_the_library_is_light() -> None:
    code = "import sys, bow2gpt, bow2gpt.corpus; print(*{'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
