"""One kind of progress for all commands: bars in a terminal, elsewhere a line a minute."""

from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_SECONDS = 60.0


class Lines(Progress):
    """Progress where no bar can be drawn: every minute a line for each task that is under way.

    After the last step of a task, while it is evaluated say, that is the last task.

    Parameters
    ----------
    console : Console
        Where the lines go.
    wait : callable, optional
        Waits for so many seconds and returns whether the work has ended; by default in real time,
        on a thread, so that lines come during long steps as well.
    **options
        Of `rich.progress.Progress`.
    """

    def __init__(
        self, console: Console, wait: Callable[[float], bool] | None = None, **options: Any
    ) -> None:
        super().__init__(console=console, disable=True, **options)
        self._ended = Event()
        self._wait = wait or self._ended.wait
        self._thread = Thread(target=self._tell, daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()

    def _tell(self) -> None:
        while not self._wait(_SECONDS):
            under_way = [task for task in self.tasks if not task.finished]
            for task in under_way or self.tasks[-1:]:
                self.console.out(_line(task), highlight=False)


def _line(task: Task) -> str:
    done, total, elapsed = task.completed, task.total or 0.0, task.elapsed or 0.0
    line = f"{task.description}: {done:g} of {total:g}, {_time(elapsed)} spent"
    if 0 < done < total:
        line += f", {_time(elapsed * (total - done) / done)} left"
    return line


def _time(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


def steps_left(console: Console | None = None) -> Progress:
    """Return what shows counts, the time spent and the time left.

    Parameters
    ----------
    console : Console, optional
        By default standard error. Only a terminal that can draw gets bars; a demand for colours
        (``FORCE_COLOR``), which continuous integration makes as well, is none for bars.
    """
    console = console or Console(stderr=True)
    if console.is_dumb_terminal or not console.file.isatty():
        return Lines(console)
    return Progress(
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
