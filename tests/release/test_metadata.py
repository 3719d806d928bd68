"""What the files about the project say agrees with the project."""

import re
import tomllib

import pytest
import yaml
from documents import ROOT, SESSIONS

import rbgs

WORKFLOWS = sorted(ROOT.joinpath(".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]


def sessions(workflow):
    """Yield the sessions of nox that a workflow runs, those of its matrices too."""
    for job in workflow["jobs"].values():
        yield from job.get("strategy", {}).get("matrix", {}).get("session", ())
        for step in job["steps"]:
            for names in re.findall(r"nox -s ([\w ]+)", step.get("run", "")):
                yield from names.split()


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load(ROOT.joinpath("CITATION.cff").read_text())
    assert citation["version"] == rbgs.__version__
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_sessions_that_are_there(path):
    found = set(sessions(yaml.safe_load(path.read_text())))
    assert found
    assert found <= SESSIONS
