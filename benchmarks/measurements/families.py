"""Time of sample + vjp of the pathwise estimators, over that of Gumbel-Rao with 16 samples."""

import statistics

import numpy as np

import rbgs
from benchmarks.measurements import peers
from benchmarks.measurements.timing import alternate, ratio, setting
from benchmarks.output.tables import Table

SHAPES = (((200, 60), 4), ((200, 30), 16))
TEMPERATURE, SAMPLES = 0.5, 16
BASE, SOFTMAX = "GumbelRao", "StraightThroughGumbelSoftmax"
ESTIMATORS = {
    BASE: rbgs.GumbelRao(TEMPERATURE, SAMPLES),
    "ReinMaxRao": rbgs.ReinMaxRao(TEMPERATURE, SAMPLES),
    SOFTMAX: rbgs.StraightThroughGumbelSoftmax(TEMPERATURE),
    "StraightThrough": rbgs.StraightThrough(TEMPERATURE),
    "ReinMax, τ = 1": rbgs.ReinMax(),
    "ReinMax": rbgs.ReinMax(TEMPERATURE),
    "GappedStraightThrough": rbgs.GappedStraightThrough(TEMPERATURE),
    'GappedStraightThrough, "p"': rbgs.GappedStraightThrough(TEMPERATURE, "p"),
}


def table(rounds: int) -> Table:
    """Time all of them, on the compiled engine if there is one.

    Until a program has freed a large array, glibc gives the memory of small ones back each time,
    and fetches it page by page again: that would be half of the time.
    """
    np.ones(2**21)  # 16 MiB, freed at once
    rbgs.set_compiled(True)
    engine = "fast" if rbgs.is_compiled() else "NumPy"
    columns = ["estimator"]
    for batch, n in SHAPES:
        shape = f"({'×'.join(map(str, batch))}, {n})"
        columns += [f"{shape}: ms", "over GumbelRao", "over ST-GS"]
    result = Table(
        f"Estimators against Gumbel-Rao: τ = {TEMPERATURE}, K = {SAMPLES}, {engine}, "
        f"{setting(rbgs.get_num_threads())}",
        columns,
    )
    cells: dict[str, list[str]] = {label: [] for label in ESTIMATORS}
    for batch, n in SHAPES:
        logits, cotangent = np.random.default_rng(0).normal(size=(2, *batch, n)).astype(np.float32)
        calls = {
            label: peers.ours(estimator, logits, cotangent, compiled=True)
            for label, estimator in ESTIMATORS.items()
        }
        alternate(calls, 3)
        times = alternate(calls, rounds)
        for label, seconds in times.items():
            cells[label] += [
                f"{1e3 * statistics.median(seconds):.2f}",
                f"{ratio(seconds, times[BASE]):.2f}",
                f"{ratio(seconds, times[SOFTMAX]):.2f}",
            ]
    for label, row in cells.items():
        result.add(label, *row)
    return result
