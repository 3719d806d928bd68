"""The example of the README runs."""

import re
from pathlib import Path

README = Path(__file__).parent.parent.joinpath("README.md").read_text()


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 11
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == "(200, 60, 4) True\n"
