"""The threads that share the rows: forks, the end of the interpreter, errors, and how many."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from textwrap import dedent

import numpy as np
import pytest
from processes import run

import rbgs
from rbgs.arrays import loops

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

# A draw that is worth threads, with the compiled engine and without. The parent has made one.
DRAW = """
import atexit, multiprocessing, os, threading, warnings
import numpy as np
import rbgs

logits = np.random.default_rng(0).normal(size=(3000, 10)).astype("float32")

def draw():
    return rbgs.GumbelRao(0.5).sample(logits, rng=0).vjp(logits)

expected = draw()

def is_right(tolerance=0.0):
    return np.allclose(draw(), expected, rtol=0, atol=tolerance)

def fork(check=is_right):
    child = os.fork()
    if not child:
        os._exit(not check())
    return os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(params=["0", "1"], ids=["plain", "compiled"])
def environment(request):
    """Return the environment of a process with or without the compiled engine."""
    if request.param == "1":
        pytest.importorskip("numba")
    return {"RBGS_COMPILED": request.param, "RBGS_NUM_THREADS": "3"}


@needs_fork
@pytest.mark.parametrize(
    "code",
    [
        "print(fork() and is_right())",
        "print(all(multiprocessing.get_context('fork').Pool(2).starmap(is_right, [()] * 4)))",
        "rbgs.set_num_threads(2); print(fork())",
        "print(fork(fork))",
    ],
    ids=["os", "multiprocessing", "another number", "a fork of a fork"],
)
def test_a_child_of_a_fork_draws(environment, code):
    assert run(DRAW + code, **environment)[0] == "True"


@needs_fork
def test_a_fork_while_other_threads_draw(environment):
    code = """
    done = False
    def keep_drawing():
        while not done:
            draw()
    threads = [threading.Thread(target=keep_drawing) for _ in range(3)]
    for thread in threads:
        thread.start()
    print(all([fork() for _ in range(20)]))
    done = True
    """
    assert run(DRAW + dedent(code), **environment)[0] == "True"


@needs_fork
@pytest.mark.parametrize("number", [0, 1], ids=["import", "compilation"])
def test_a_fork_while_another_thread_makes_the_engine(number):
    pytest.importorskip("numba")
    code = f"""
    from rbgs.arrays import engine
    forked, held = threading.Event(), threading.Event()
    def hold():
        with engine._locks[{number}]:
            held.set()
            forked.wait()
    threading.Thread(target=hold).start()
    held.wait()
    def check():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            right = is_right(1e-3) and is_right(1e-3)
        return right and not rbgs.is_compiled() and len(caught) == 1
    print(fork(check))
    forked.set()
    print(rbgs.is_compiled() and is_right())
    """
    assert run(DRAW + dedent(code), RBGS_NUM_THREADS="3")[0].split() == ["True", "True"]


@needs_fork
def test_workers_of_a_data_loader(environment):
    pytest.importorskip("torch")
    code = """
    import torch, rbgs.torch
    from torch.utils.data import DataLoader, Dataset

    def gradient(seed):
        leaf = torch.from_numpy(logits).clone().requires_grad_()
        value = rbgs.torch.sample(rbgs.GumbelRao(0.5), leaf, generator=seed)
        value.backward(torch.from_numpy(logits))
        return leaf.grad

    class Draws(Dataset):
        def __len__(self):
            return 4
        def __getitem__(self, seed):
            return gradient(seed)

    expected = torch.stack([gradient(seed) for seed in range(4)])
    loader = DataLoader(Draws(), 4, num_workers=2, multiprocessing_context="fork")
    print(torch.equal(next(iter(loader)), expected))
    """
    assert run(DRAW + dedent(code), **environment)[0] == "True"


@pytest.mark.parametrize(
    "code",
    [
        "atexit.register(lambda: print(is_right()))",
        """
        class Last:
            def __del__(self):
                print(draw().tolist() == expected.tolist())  # NumPy's functions fail by then
        last = Last()
        """,
        "loops._pool.cache_clear(); atexit.register(lambda: print(is_right()))",
        """
        def after_the_main_thread():
            threading.main_thread().join()
            print(is_right())
        threading.Thread(target=after_the_main_thread).start()
        """,
    ],
    ids=["atexit", "finalizer", "new pool", "thread"],
)
def test_a_draw_when_the_interpreter_exits(environment, code):
    out, err = run(DRAW + "from rbgs.arrays import loops\n" + dedent(code), **environment)
    assert (out, err) == ("True", "")


def test_the_first_draw_when_the_interpreter_exits(environment):
    code = """
    import atexit
    import numpy as np
    import rbgs

    def draw():
        logits = np.zeros((3000, 10), "f4")
        print(rbgs.GumbelRao(0.5).sample(logits, rng=0).vjp(logits).shape)
    atexit.register(draw)
    """
    assert run(code, **environment) == ("(3000, 10)", "")


@pytest.fixture
def _threads(monkeypatch):
    monkeypatch.setattr(loops, "_threads", 3)
    yield
    loops._pool.cache_clear()


@pytest.mark.usefixtures("_threads")
def test_it_works_alone_where_the_system_has_no_more_threads(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    loops._pool.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert loops._share(lambda x: x * x, range(10)) == [x * x for x in range(10)]


@pytest.mark.usefixtures("_threads")
def test_results_keep_their_order():
    def task(x):
        time.sleep(0.002 * (x % 3))
        return x * x

    assert loops._share(task, range(30)) == [x * x for x in range(30)]


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("bad", [0, 1, 20, 29])
def test_an_error_in_one_part_is_raised_and_ends_the_rest(bad):
    seen = []

    def task(x):
        if x == bad:
            raise IndexError("of the task")  # not the one of an empty queue
        seen.append(x)
        time.sleep(0.005)

    with pytest.raises(IndexError, match="of the task"):
        loops._share(task, range(30))
    assert len(seen) <= bad + 2
    assert loops._share(lambda x: x, range(4)) == [0, 1, 2, 3]


@pytest.mark.usefixtures("_threads")
def test_a_pool_that_is_busy_is_not_waited_for():
    """All of the pool's threads hold on, and a task shares work of its own."""
    release = threading.Event()
    held = [loops._pool(2).submit(release.wait) for _ in range(2)]
    assert loops._share(lambda x: sum(loops._share(lambda y: x * y, range(5))), range(5)) == [
        0, 10, 20, 30, 40,
    ]  # fmt: skip
    release.set()
    assert all(future.result() for future in held)


@pytest.mark.usefixtures("_threads")
def test_the_number_changes_while_threads_draw():
    estimator = rbgs.GumbelRao(0.5)
    logits = np.random.default_rng(0).normal(size=(3000, 10))
    draw = estimator.sample(logits, rng=0)
    expected = draw.vjp(logits)
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(draw.vjp, logits) for _ in range(40)]
        while not all(future.done() for future in results):
            for count in (1, 2, 5):
                rbgs.set_num_threads(count)
    for future in results:
        np.testing.assert_array_equal(future.result(), expected)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
@pytest.mark.parametrize("before", ["", "import rbgs"], ids=["before import", "after import"])
def test_the_number_of_threads_follows_the_affinity(before):
    code = f"""
    import os
    {before}
    one = {{min(os.sched_getaffinity(0))}}
    os.sched_setaffinity(0, one)
    import rbgs
    print(rbgs.get_num_threads())
    rbgs.set_num_threads(5)
    print(rbgs.get_num_threads())
    """
    assert run(code, RBGS_NUM_THREADS="")[0].split() == ["1", "5"]


@pytest.mark.parametrize("given", ["7", " 7 "])
def test_the_environment_sets_the_number(given):
    code = "import rbgs; print(rbgs.get_num_threads())"
    assert run(code, RBGS_NUM_THREADS=given)[0] == "7"


@pytest.mark.parametrize("given", ["abc", "0", "-1", "2.5", "1e3"])
def test_a_bad_number_in_the_environment(given):
    code = """
    try:
        import rbgs
    except ValueError as error:
        print(error)
    """
    out, _ = run(code, RBGS_NUM_THREADS=given)
    assert "RBGS_NUM_THREADS" in out
    assert repr(given) in out


@pytest.mark.usefixtures("_threads")
def test_counts_of_threads():
    for count in (3, np.int64(4), np.asarray(5)):
        rbgs.set_num_threads(count)
        assert rbgs.get_num_threads() == count
        assert type(rbgs.get_num_threads()) is int
    for count in (2.5, "2", True, np.True_, None, np.asarray([2])):
        with pytest.raises(TypeError, match="number of threads must be an int"):
            rbgs.set_num_threads(count)
    for count in (0, -1):
        with pytest.raises(ValueError, match="number of threads must be at least 1"):
            rbgs.set_num_threads(count)
    assert rbgs.get_num_threads() == 5
