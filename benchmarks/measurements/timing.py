"""Times of calls that alternate within one process."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np


def alternate(
    calls: Mapping[str, Callable[[], object]],
    rounds: int,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Return the seconds of each call in each round; every other round runs backwards."""
    times: dict[str, list[float]] = {label: [] for label in calls}
    for number in range(rounds):
        for label in calls if number % 2 else reversed(calls):
            start = time.perf_counter()
            calls[label]()
            times[label].append(time.perf_counter() - start)
        tick()
    return times


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the ratios within a round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def ratio_and_error(above: Sequence[float], below: Sequence[float]) -> tuple[float, float]:
    """Return the same with its standard error, were the ratios normal, from their quartiles."""
    ratios = np.asarray(above) / np.asarray(below)
    spread = np.subtract(*np.quantile(ratios, (0.75, 0.25))) / 1.349
    return float(np.median(ratios)), float(1.253 * spread / math.sqrt(len(ratios)))


def setting(threads: int) -> str:
    """Say what a time depends on, beside the call."""
    return f"float32, {threads} thread{'s' * (threads > 1)}, {instructions()}"


def instructions() -> str:
    """Name the widest vector instructions of the processor, as NumPy finds them."""
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    names = {"X86_V4": "AVX-512", "AVX512_SKX": "AVX-512", "X86_V3": "AVX2", "AVX2": "AVX2"}
    wide = [name for extension, name in names.items() if extension in found]
    return wide[0] if wide else ", ".join(found) or "no vector instructions found"
