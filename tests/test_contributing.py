"""The worked example of CONTRIBUTING.md: a file, a name and an entry, and all properties run."""

import os
import shutil
import subprocess
import sys

from documents import ROOT, blocks

PROPERTIES = ["tests/test_contract.py", "tests/test_operator.py", "tests/test_bad_input.py"]


def test_the_example_runs_through_the_shared_properties(tmp_path):
    file, name, entry = (x.code for x in blocks(ROOT / "CONTRIBUTING.md", language="python"))
    for part in ("rbgs", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tmp_path.joinpath("rbgs/estimators/halfway.py").write_text(file)
    for path, before, what in (
        ("rbgs/__init__.py", "\n__all__ = [\n", name + '\n__all__ = [\n    "Halfway",\n'),
        ("tests/support/cases.py", "CASES = [\n", f"CASES = [\n    {entry.strip()},\n"),
    ):
        there = tmp_path / path
        text = there.read_text()
        assert text.count(before) == 1
        there.write_text(text.replace(before, what))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--backend", "numpy", "-k", "Halfway or halfway"]
    done = subprocess.run(
        [*command, *PROPERTIES, "rbgs/estimators/halfway.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "RBGS_COMPILED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1])
    assert passed > 25, done.stdout
