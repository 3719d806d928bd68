"""How the results of each sweep are shown."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.experiments import paper
from benchmarks.sweeps.results import Config


def _shape(config: Config) -> str:
    return f"{config['variables']} × {config['arity']}"


def _reported_vae(config: Config) -> Any:
    return config["arity"], config["batch"]


def _reported_listops(config: Config) -> Any:
    return (config["longest"], config["temperature"]) if math.isinf(config["clip"]) else None


def _listops_section(config: Config) -> str:
    clip = config["clip"]
    clipping = "no clipping" if math.isinf(clip) else f"gradient clipped to norm {clip:g}"
    return f"L ≤ {config['longest']}, {clipping}"


@dataclass(frozen=True)
class Layout:
    """How the results of a sweep are shown.

    Attributes
    ----------
    task : str
        What is trained, in a few words.
    score : str
        What is measured at test.
    heading : callable
        The heading of a column, of the configuration of one of its runs.
    note : str
        What the headings mean.
    lower_is_better : bool
        Whether it is.
    scale, digits : float, int
        The scores are multiplied by the first, and have so many digits.
    apart : tuple of str
        Those entries of a column whose values make a table, and a panel, of their own.
    section : callable
        The name of that.
    reported : callable
        The key of a column in what the paper reports, which is in ``reports``.
    """

    task: str
    score: str
    heading: Callable[[Config], str]
    note: str
    lower_is_better: bool = True
    scale: float = 1.0
    digits: int = 2
    apart: tuple[str, ...] = ()
    section: Callable[[Config], str] = lambda _: ""
    reported: Callable[[Config], Any] = lambda _: None
    reports: paper.Numbers = field(default_factory=dict)

    @property
    def sign(self) -> int:
        """What makes the lower score the better one."""
        return 1 if self.lower_is_better else -1


_BOUND = "Bound at test in nats, lower is better"
_COLUMNS = "A column is a latent space, variables × categories."
LAYOUTS = {
    "digits": Layout("VAE, digits", _BOUND, _shape, _COLUMNS),
    "mnist": Layout("VAE, MNIST", _BOUND, _shape, _COLUMNS),
    "shapes": Layout("VAE, MNIST, short runs", _BOUND, _shape, _COLUMNS),
    "paper": Layout(
        "VAE, the paper's protocol", _BOUND, _shape, _COLUMNS, reported=_reported_vae,
        reports=paper.VAE,
    ),
    "prediction": Layout(
        "Structured prediction",
        _BOUND,
        lambda config: f"M = {config['samples']}",
        "M is the number of samples in the bound that is trained.",
    ),
    "listops": Layout(
        "ListOps",
        "Accuracy at test in %, higher is better",
        lambda config: f"τ = {config['temperature']:g}",
        "L is the number of tokens, τ the temperature.",
        lower_is_better=False,
        scale=100.0,
        digits=1,
        apart=("clip", "longest"),
        section=_listops_section,
        reported=_reported_listops,
        reports=paper.LISTOPS,
    ),
}  # fmt: skip
