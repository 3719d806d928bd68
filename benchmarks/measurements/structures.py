"""Time and memory of subsets and spanning trees, sample + vjp, against those of their peers.

A ratio is the median of the ratios within a round, in which all alternate.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator

import numpy as np

import rbgs
from benchmarks.measurements import peers, structured_peers
from benchmarks.measurements.memory import peak_memory
from benchmarks.measurements.timing import alternate, ratio, setting
from benchmarks.output.tables import Table

TEMPERATURE = 0.5
TOP_K, SIMPLE, TREE = "relaxed top-k, PyTorch", "SIMPLE, PyTorch", "softmax trick, PyTorch"


def complete_graph(vertices: int) -> np.ndarray:
    """Return all pairs of vertices."""
    return np.asarray(list(itertools.combinations(range(vertices), 2)))


def grid_graph(side: int) -> np.ndarray:
    """Return the edges between the neighbours on a square grid."""
    number = np.arange(side**2).reshape(side, side)
    pairs = ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:]))
    return np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])


def noise(rows: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return standard normal logits and a cotangent."""
    logits, cotangent = np.random.default_rng(0).normal(size=(2, rows, n)).astype(np.float32)
    return logits, cotangent


def contenders(
    structure: object, data: tuple[np.ndarray, np.ndarray], others: dict[str, peers.Call]
) -> dict[str, peers.Call]:
    """Name what is timed: the peers, and this library's estimators on each engine."""
    estimators = {
        "ST-GS": rbgs.StraightThroughGumbelSoftmax(TEMPERATURE, structure=structure),
        "GR, K = 1": rbgs.GumbelRao(TEMPERATURE, 1, structure=structure),
        "GR, K = 16": rbgs.GumbelRao(TEMPERATURE, 16, structure=structure),
    }
    rbgs.set_compiled(True)
    engines = {"NumPy": False} | ({"fast": True} if rbgs.is_compiled() else {})
    return others | {
        f"rbgs {name}, {engine}": peers.ours(estimator, *data, compiled=compiled)
        for engine, compiled in engines.items()
        for name, estimator in estimators.items()
    }


def subsets(rows: int, n: int, k: int, *, simple: bool) -> dict[str, peers.Call]:
    """Return the contenders for k-subsets."""
    data = noise(rows, n)
    others = {
        TOP_K: structured_peers.call(structured_peers.sample_top_k, *data, k, TEMPERATURE),
    }
    if simple:  # it takes seconds for the large one: n steps in Python
        others[SIMPLE] = structured_peers.call(structured_peers.sample_simple, *data, k)
    return contenders(rbgs.Subset(k), data, others)


def trees(rows: int, edges: np.ndarray) -> dict[str, peers.Call]:
    """Return the contenders for the spanning trees of a graph."""
    data = noise(rows, len(edges))
    peer = structured_peers.call(structured_peers.sample_tree, *data, edges, TEMPERATURE)
    return contenders(rbgs.SpanningTree(edges), data, {TREE: peer})


WORKLOADS: dict[str, Callable[[], dict[str, peers.Call]]] = {
    "10-subsets, (1000, 100)": lambda: subsets(1000, 100, 10, simple=True),
    "10-subsets, (100, 10000)": lambda: subsets(100, 10_000, 10, simple=False),
    "Spanning trees, complete graph of 9 vertices, (200, 36)": lambda: trees(
        200, complete_graph(9)
    ),
    "Spanning trees, grid of 64 vertices, (200, 112)": lambda: trees(200, grid_graph(8)),
}


def tables(rounds: int) -> Iterator[Table]:
    """Time all contenders on all workloads, as in a program with large arrays: see `families`."""
    np.ones(2**21)  # 16 MiB, freed at once
    for title, make in WORKLOADS.items():
        calls = make()
        alternate(calls, 2)
        memory = {label: peak_memory(call) for label, call in calls.items()}
        yield table(title, alternate(calls, rounds), memory)


def table(title: str, times: dict[str, list[float]], memory: dict[str, float]) -> Table:
    """Make the table of one workload; the first of the times is the peer's."""
    peer = next(iter(times))
    columns = ("contender", "ms", f"over {peer}", "peak MiB")
    result = Table(f"{title}: τ = {TEMPERATURE}, {setting(rbgs.get_num_threads())}", columns)
    for label, seconds in times.items():
        milliseconds = f"{1e3 * statistics.median(seconds):.2f}"
        over = f"{ratio(seconds, times[peer]):.2f}"
        result.add(label, milliseconds, over, f"{memory[label]:.1f}")
    return result
