"""The example specs and the README's commands, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.submit.spec import read_spec
from tests.end_to_end.command import ROOT, Tierwise
from tests.end_to_end.inside import tierwise

EXAMPLES = ROOT / "jobs" / "examples"
JOB_PRINTED = re.compile(r"^(?:Submitted )?([A-Za-z0-9][\w.-]*)(?: \(generation \d+\)|:)", re.M)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
async def test_examples_hold(path: Path) -> None:
    prepared = await read_spec(path, for_calls=False)
    assert prepared.inputs
    assert set(prepared.prices) | set(prepared.training) == {tier.name for tier in prepared.spec.tiers}


@pytest.fixture(scope="module")
def support(tmp_path_factory: pytest.TempPathFactory) -> Tierwise:
    place = Tierwise(folder=tmp_path_factory.mktemp("support"))
    tierwise(place, "run", str(EXAMPLES / "support.yaml"), "--job", "support")
    return place


def test_the_example_answers_all_its_messages_for_nothing(support: Tierwise) -> None:
    said = tierwise(support, "report", "support", "--json").json()
    assert said["statuses"] == {"answered": 280}
    assert said["cost_usd"] == "0.000000000"
    assert said["graded"] == 280
    print(
        f"accuracy {said['accuracy']:.3f}, answered by {[(t['tier'], t['answered']) for t in said['tiers']]}"
    )
    assert said["accuracy"] > 0.55
    assert all(tier["answered"] > 20 for tier in said["tiers"])


def test_the_example_with_models_is_priced_without_a_key(support: Tierwise) -> None:
    keyless = Tierwise(folder=support.folder, settings={"TIERWISE_FORBID_REMOTE": "", "OPENAI_API_KEY": ""})
    said = tierwise(keyless, "estimate", str(EXAMPLES / "support-models.yaml"), "--json").json()
    assert said["queries"] == 280
    assert [tier["tier"] for tier in said["tiers"]] == ["classifier", "nano", "mini", "large"]
    assert float(said["expected_usd"]) < float(said["cap_usd"])


def commands(text: str) -> list[str]:
    """The `tierwise` commands of the text's sh blocks, in order; a line that says what it `# needs` is left out."""
    lines = [line for block in BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    said = [line.strip().removeprefix("$ ") for line in lines]
    return [line for line in said if line.startswith("tierwise ") and not re.search(r"\s# needs\b", line)]


def test_commands_are_found_in_blocks_alone() -> None:
    text = (
        "tierwise outside\n```sh\npip install tierwise\ntierwise run a.yaml  # a comment\ntierwise why JOB \\\n  m001\n"
        "tierwise submit a.yaml   # needs a broker\n```\n```\ntierwise plain\n```\n```sh\ntierwise report JOB\n```\n"
    )
    found = ["tierwise run a.yaml  # a comment", "tierwise why JOB    m001", "tierwise report JOB"]
    assert commands(text) == found


def test_the_commands_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    # Given the README's commands that need neither key nor broker, and a folder with the examples in it
    lines = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert any(line.startswith("tierwise run ") for line in lines), "the README shows no `tierwise run`"
    shutil.copytree(EXAMPLES, tmp_path / "jobs" / "examples")
    program = tmp_path / "bin" / "tierwise"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jobs.cli "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIERWISE_", "AWS_"))}
    keyless = {name: value for name, value in kept.items() if not name.endswith("_API_KEY")}
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**keyless, "PYTHONPATH": str(ROOT), "PATH": path}
    job = "JOB"
    for line in lines:
        # When each is run in a shell, JOB being the last job that a command named
        typed = re.sub(r"\bJOB\b(?!\.yaml)", job, line)
        ran = subprocess.run(
            typed, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        # Then it does what it says
        assert ran.returncode == 0, f"{typed}\n{ran.stdout}{ran.stderr}"
        if line.startswith(("tierwise run ", "tierwise submit ")) and (
            named := JOB_PRINTED.search(ran.stdout)
        ):
            job = named[1]
