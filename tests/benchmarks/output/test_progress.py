"""Progress is told without a terminal as well: by a line a minute, of a clock that tests turn."""

import io
from contextlib import suppress
from pathlib import Path

import pytest
from commands import ROOT

pytest.importorskip("rich")
from rich.console import Console

from benchmarks.output.progress import Lines, steps_left


class Clock:
    """Time that passes only while one waits, up to the end of the work."""

    def __init__(self, end):
        self.now, self.end = 0.0, end

    def wait(self, seconds):
        self.now = min(self.end, self.now + seconds)
        return self.now == self.end


def lines(clock, *tasks):
    """Return what is printed in the time of tasks: description, steps done and in all."""
    console = Console(file=io.StringIO(), width=20)
    progress = Lines(console, clock.wait, get_time=lambda: clock.now)
    for description, done, total in tasks:
        progress.advance(progress.add_task(description, total=total), done)
    with progress:
        progress._thread.join()  # until the clock's end
    return console.file.getvalue().splitlines()


def test_a_line_a_minute():
    assert lines(Clock(150), ("2 of 24: GR, seed 1", 500, 2000)) == [
        "2 of 24: GR, seed 1: 500 of 2000, 0:01:00 spent, 0:03:00 left",
        "2 of 24: GR, seed 1: 500 of 2000, 0:02:00 spent, 0:06:00 left",
    ]


def test_only_what_is_under_way_is_told():
    assert lines(Clock(70), ("a", 3, 3), ("b", 0, 3)) == ["b: 0 of 3, 0:01:00 spent"]
    assert lines(Clock(60), ("a", 1, 3)) == []


def test_what_comes_after_the_last_step_is_told_as_well():
    assert lines(Clock(70), ("a", 3, 3), ("b", 3, 3)) == ["b: 3 of 3, 0:01:00 spent"]


def test_the_thread_ends_with_the_work_also_when_that_fails():
    progress = steps_left(Console(file=io.StringIO()))
    with suppress(KeyError), progress:
        assert progress._thread.is_alive()
        raise KeyError
    assert not progress._thread.is_alive()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_are_for_terminals_that_can_draw(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    assert not isinstance(steps_left(Console(file=Terminal())), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(steps_left(Console(file=io.StringIO())), Lines)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(steps_left(Console(file=Terminal())), Lines)


def test_every_command_has_this_progress():
    sources = {p: p.read_text() for p in ROOT.joinpath("benchmarks").rglob("*.py")}
    own = [path for path, text in sources.items() if "rich.progress" in text]
    assert own == [ROOT / Path("benchmarks", "output", "progress.py")]
    commands = [path for path, text in sources.items() if "typer.run(main)" in text]
    untold = [p.stem for p in commands if "steps_left()" not in sources[p]]
    assert untold == ["report"]  # which takes seconds
