"""Time of the call that users make, and time and memory of sample + vjp: against PyTorch and JAX.

The contenders alternate within one process. Times are medians over the rounds; a ratio is the
median of the ratios within a round. The floor is one log, log1p, exp and division for each category
and sample, as this NumPy runs them over the same threads.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import typer

import rbgs
from benchmarks.experiments import estimators
from benchmarks.measurements import drop_in, families, overheads, peers, structures
from benchmarks.measurements.memory import peak_memory
from benchmarks.measurements.timing import alternate, ratio, setting
from benchmarks.output.progress import steps_left
from benchmarks.output.tables import Table

WORKLOADS = (
    ((20, 60), 4, 10),
    ((200, 60), 4, 100),
    ((200, 30), 16, 100),
    ((16,), 50, 1000),
    ((64,), 32768, 10),
)
SOFTMAX, DENSE = "gumbel_softmax, PyTorch", "dense GR, PyTorch"


def contenders(
    batch: tuple[int, ...], n: int, samples: int, temperature: float
) -> dict[str, peers.Call]:
    """Name what is timed."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(*batch, n)).astype(np.float32)
    cotangent = rng.normal(size=logits.shape).astype(np.float32)
    data = (logits, cotangent)
    default = rbgs.GumbelRao(temperature, samples)
    paper = estimators.make(f"GR-MC{samples}", temperature)
    named = {
        SOFTMAX: peers.torch_gumbel_softmax(*data, temperature),
        DENSE: peers.torch_dense(*data, temperature, samples),
        "dense GR, JAX vmap": peers.jax_dense(*data, temperature, samples, scan=False),
        "dense GR, JAX scan": peers.jax_dense(*data, temperature, samples, scan=True),
        "rbgs ST-GS, NumPy": peers.ours(rbgs.StraightThroughGumbelSoftmax(temperature), *data),
        "rbgs GR, NumPy": peers.ours(default, *data),
        "rbgs GR-MC, NumPy": peers.ours(paper, *data),
        "rbgs GR, JAX": peers.ours_in_jax(default, *data),
    }
    rbgs.set_compiled(True)
    if rbgs.is_compiled():
        named["rbgs GR, fast"] = peers.ours(default, *data, compiled=True)
        named["rbgs GR, JAX fast"] = peers.ours_in_jax(default, *data, compiled=True)
        named["rbgs GR-MC, fast"] = peers.ours(paper, *data, compiled=True)
    return named


def floor(elements: int) -> float:
    """Return the seconds of one log, log1p, exp and division for each element."""
    threads = rbgs.get_num_threads()
    block = np.random.default_rng(0).random(2**15, np.float32) + np.float32(0.5)

    def work(count: int) -> None:
        out = np.empty_like(block)
        for _ in range(count):
            np.log(block, out=out)
            np.log1p(block, out=out)
            np.exp(block, out=out)
            np.divide(block, block, out=out)

    count = max(1, min(elements, 2**23) // (block.size * threads))
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [1] * threads))
        start = time.perf_counter()
        list(pool.map(work, [count] * threads))
        seconds = time.perf_counter() - start
    return seconds * elements / (count * threads * block.size)


def main(
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of all contenders.")] = 7,
    temperature: Annotated[list[float] | None, typer.Option(help="May be repeated.")] = None,
) -> None:
    """Print times and memory for every workload."""
    temperatures = temperature or [0.7, 0.5]
    tables = []
    with steps_left() as progress:
        task = progress.add_task("timing", total=len(WORKLOADS) * len(temperatures) * rounds)
        for tau in temperatures:
            for batch, n, samples in WORKLOADS:
                elements = int(np.prod(batch)) * n * samples
                run = contenders(batch, n, samples, tau)
                for call in run.values():
                    call()
                memory = {label: peak_memory(call) for label, call in run.items()}
                floors: list[float] = []

                def tick(elements: int = elements, floors: list[float] = floors) -> None:
                    floors.append(floor(elements))
                    progress.advance(task)

                times = alternate(run, rounds, tick) | {"floor": floors}
                shape = "×".join(map(str, batch))
                tables.append(
                    table(f"({shape}, {n}), K = {samples}, τ = {tau}", times, memory, elements)
                )
    further = (overhead_table(rounds), families.table(8 * rounds), *structures.tables(rounds))
    for each in (*drop_in.tables(8 * rounds), *tables, *further):
        typer.echo(each)


def overhead_table(rounds: int) -> Table:
    """Time the doors and the keys, each against what it is made of."""
    rng = np.random.default_rng(0)
    logits, cotangent = rng.normal(size=(2, 200, 60, 4)).astype(np.float32)
    estimator = rbgs.GumbelRao(0.7, samples=100)
    result = Table(
        "Frameworks and keys, (200×60, 4), K = 100, τ = 0.7, float32",
        ("what, against what", "ms", "ms", "ratio"),
    )
    for label, pair in (
        overheads.doors(estimator, logits, cotangent) | overheads.keys(logits.shape)
    ).items():
        run = dict(zip("ab", pair, strict=True))
        alternate(run, 2)
        times = alternate(run, 3 * rounds)
        medians = (f"{1e3 * statistics.median(t):.2f}" for t in times.values())
        result.add(label, *medians, f"{ratio(times['a'], times['b']):.2f}")
    return result


def table(
    title: str, times: dict[str, list[float]], memory: dict[str, float], elements: int
) -> Table:
    """Make the table of one workload."""
    result = Table(
        f"{title}, {setting(rbgs.get_num_threads())}",
        ("contender", "ms", "over gumbel_softmax", "dense GR over it", "peak MiB", "ns"),
    )
    for label, seconds in times.items():
        median = statistics.median(seconds)
        result.add(
            label,
            f"{1e3 * median:.2f}",
            f"{ratio(seconds, times[SOFTMAX]):.2f}",
            f"{ratio(times[DENSE], seconds):.2f}",
            f"{memory[label]:.0f}" if label in memory else "",
            f"{1e9 * median / elements:.2f}",
        )
    return result


if __name__ == "__main__":
    typer.run(main)
