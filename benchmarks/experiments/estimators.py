"""All estimators by the short names that they have in tables, with the knob that each has."""

from collections.abc import Callable
from typing import Any, NamedTuple

import rbgs


class Entry(NamedTuple):
    """How an estimator is made, and what it asks for.

    Attributes
    ----------
    make : callable
        ``make(temperature, knob)``.
    knobs : tuple
        The values of its own knob that a search tries, beside the temperature.
    evaluations : callable
        How often an estimate evaluates the loss, ``evaluations(knob, variables, categories)``.
    """

    make: Callable[[Any, Any], rbgs.Estimator]
    knobs: tuple[Any, ...] = (None,)
    evaluations: Callable[[Any, int, int], int] = lambda _knob, _variables, _categories: 1


def _times(count: int) -> Callable[[Any, int, int], int]:
    return lambda _knob, _variables, _categories: count


def _monte_carlo(samples: int) -> Entry:
    """Return the entry of the paper's estimator, with independent samples."""
    return Entry(lambda t, _: rbgs.GumbelRao(t, samples, "monte_carlo", control_variate=False))


ENTRIES = {
    "GS": Entry(lambda t, _: rbgs.GumbelSoftmax(t)),
    "ST": Entry(lambda t, _: rbgs.StraightThrough(t)),
    "ST-GS": Entry(lambda t, _: rbgs.StraightThroughGumbelSoftmax(t)),
    "GR-MC10": _monte_carlo(10),
    "GR-MC100": _monte_carlo(100),
    "GR-MC1000": _monte_carlo(1000),
    "GR": Entry(lambda t, _: rbgs.GumbelRao(t)),
    "ReinMax": Entry(lambda t, _: rbgs.ReinMax(t)),
    "ReinMax-Rao": Entry(lambda t, _: rbgs.ReinMaxRao(t)),
    "Gapped ST": Entry(rbgs.GappedStraightThrough, (1.0, "p")),
    "Systematic GR": Entry(
        lambda t, draws: rbgs.Systematic(rbgs.GumbelRao(t), draws),
        (2, 4),
        lambda draws, _v, _n: draws,
    ),
    "REINFORCE": Entry(lambda _t, _: rbgs.Reinforce()),
    "RLOO": Entry(
        lambda _t, samples: rbgs.Reinforce("leave_one_out", samples),
        (2, 4),
        lambda samples, _v, _n: samples,
    ),
    "DisARM": Entry(lambda _t, _: rbgs.DisARM(), evaluations=_times(2)),
    "IndeCateR": Entry(lambda _t, _: rbgs.IndeCateR(), evaluations=lambda _, v, n: 1 + v * n),
    "MuProp": Entry(lambda _t, _: rbgs.MuProp(), evaluations=_times(2)),
    "REBAR": Entry(lambda t, _: rbgs.Rebar(t), evaluations=_times(2)),
    "VIMCO": Entry(
        lambda _t, samples: rbgs.Vimco(samples), (2, 4), lambda samples, _v, _n: samples
    ),
}
NAMES = tuple(ENTRIES)


def make(name: str, temperature: Any, knob: Any = None) -> rbgs.Estimator:
    """Return an estimator: "GR-MC10" is the paper's with K = 10, "GR" the library's default."""
    return _entry(name).make(temperature, knob)


def knobs(name: str) -> tuple[Any, ...]:
    """Return the values of an estimator's own knob."""
    return _entry(name).knobs


def has_temperature(name: str) -> bool:
    """Return whether an estimator depends on the temperature."""
    entry = _entry(name)
    return entry.make(0.25, entry.knobs[0]) != entry.make(0.5, entry.knobs[0])


def evaluations(name: str, knob: Any, variables: int, categories: int) -> int:
    """Return how often an estimate evaluates the loss."""
    return _entry(name).evaluations(knob, variables, categories)


def _entry(name: str) -> Entry:
    if name.startswith("GR-MC") and name[5:].isdecimal():
        return _monte_carlo(int(name[5:]))
    if name not in ENTRIES:
        raise ValueError(f"no estimator {name!r}; there are {', '.join(NAMES)}")
    return ENTRIES[name]
