"""PyTorch's compiler: what may change from call to call, and what a program is made of."""

import warnings
from functools import partial

import numpy as np
import pytest
from cases import PATHWISE, name

import rbgs

torch = pytest.importorskip("torch")
door = pytest.importorskip("rbgs.torch")
testing = pytest.importorskip("torch._dynamo.testing")

# PyTorch's compiler makes an object of this class for itself, and throws its warning away.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

RANDOM = np.random.default_rng(0)
LOGITS = torch.asarray(RANDOM.normal(size=(6, 4)))
VECTOR = torch.asarray(RANDOM.normal(size=(6, 4)))
MONTE_CARLO = rbgs.GumbelRao(0.5, 7, "monte_carlo")


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch.compiler.reset()


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def value_and_gradient(sample, logits, vector):
    leaf = logits.clone().requires_grad_()
    value = sample(leaf)
    value.backward(vector)
    return value.detach(), leaf.grad


def assert_same(sample, expected, logits, vector):
    got, wanted = (value_and_gradient(f, logits, vector) for f in (sample, expected))
    torch.testing.assert_close(got, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("traced_temperature", [False, True])
@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_compile_in_one_graph(estimator, traced_temperature):
    if traced_temperature and estimator.temperature == 0:
        pytest.skip("the limit is a constant")
    noise = estimator.noise(LOGITS, 0)
    temperature = torch.asarray([0.3, 0.6] * 3, dtype=torch.float64)

    def at(temperature):
        if not traced_temperature:
            return estimator
        fields = {f: getattr(estimator, f) for f in estimator.__dataclass_fields__}
        return type(estimator)(**fields | {"temperature": temperature})

    def through_door(logits, temperature):
        return door.sample(at(temperature), logits, noise=noise)

    def product(logits, temperature):
        return at(temperature).sample(logits, noise=noise).vjp(VECTOR)

    expected = at(temperature).sample(LOGITS, noise=noise)
    compiled = torch.compile(through_door, fullgraph=True, backend="aot_eager")
    value, gradient = value_and_gradient(lambda x: compiled(x, temperature), LOGITS, VECTOR)
    without = torch.compile(product, fullgraph=True, backend="aot_eager")(LOGITS, temperature)
    close(value, expected.value)
    close(gradient, expected.vjp(VECTOR))
    close(without, expected.vjp(VECTOR))


def test_a_compiled_training_step_draws_anew():
    estimator = rbgs.GumbelRao(0.5, samples=2)
    compiled = torch.compile(
        lambda x: door.sample(estimator, x), fullgraph=True, backend="aot_eager"
    )
    first, second = (compiled(torch.zeros(200, 3)) for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("estimator", "dynamic"),
    [
        (rbgs.GumbelSoftmax(0.7), True),
        (rbgs.GumbelRao(0.5, 7), None),
        pytest.param(MONTE_CARLO, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_sizes_that_change(estimator, dynamic):
    counter = testing.CompileCounterWithBackend("aot_eager")

    def sample(logits, noise):
        return door.sample(estimator, logits, noise=noise)

    compiled = torch.compile(sample, fullgraph=True, backend=counter, dynamic=dynamic)
    counts = []
    for rows in (9, 31, 200, 6, 0):
        logits, vector = torch.asarray(RANDOM.normal(size=(2, rows, 4)))
        noise = estimator.noise(logits, 0)
        assert_same(partial(compiled, noise=noise), partial(sample, noise=noise), logits, vector)
        counts.append(counter.frame_count)
    assert counts[1] == counts[3]


@pytest.mark.parametrize(
    ("sampling", "dynamic"),
    [pytest.param("lattice", True, marks=pytest.mark.slow), ("exact", None)],
)
def test_a_float_temperature_that_changes(sampling, dynamic):
    counter = testing.CompileCounterWithBackend("aot_eager")
    noise = rbgs.GumbelRao(0.5, 7, sampling).noise(LOGITS, 0)

    def sample(logits, temperature):
        return door.sample(rbgs.GumbelRao(temperature, 7, sampling), logits, noise=noise)

    compiled = torch.compile(sample, fullgraph=True, backend=counter, dynamic=dynamic)

    def check(temperature):
        at = {"temperature": temperature}
        assert_same(partial(compiled, **at), partial(sample, **at), LOGITS, VECTOR)
        return counter.frame_count

    counts = [check(temperature) for temperature in (0.9, 0.85, 0.8, 0.72, 0.55, 0.51)]
    assert counts[1] == counts[-1]
    check(0.25)  # and below what decides, where another program begins


def test_a_layer_with_a_schedule():
    layer = door.Sampler(rbgs.GumbelRao(0.95, 7))
    noise = layer.estimator.noise(LOGITS, 0)
    counter = testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for temperature in (0.95, 0.9, 0.85, 0.8, 0.7):
        layer.temperature = temperature
        assert_same(partial(compiled, noise=noise), partial(layer, noise=noise), LOGITS, VECTOR)
    assert counter.frame_count <= 2


def programs_of(function, temperatures):
    """Return how many programs there are after each temperature."""
    counter = testing.CompileCounterWithBackend("eager")
    compiled = torch.compile(function, fullgraph=True, backend=counter)
    counts = []
    for temperature in temperatures:
        compiled(LOGITS.clone().requires_grad_(), temperature)
        counts.append(counter.frame_count)
    return counts


def test_an_annealed_temperature_has_few_programs():
    """A float: the first one, another one, and those where the mathematics differs."""

    def sample(logits, temperature):
        return door.sample(rbgs.GumbelRao(temperature, 7), logits)

    # PyTorch compiles one function 8 times: no 1/k may have a program of its own.
    whole = [1 / k for k in range(2, 13)]
    counts = programs_of(sample, [*np.linspace(0.95, 0.55, 20).tolist(), *whole])
    assert counts[:20] == [1] + [2] * 19
    assert counts[-1] == 4


def test_an_annealed_tensor_has_one_program():
    def sample(logits, temperature):
        return door.sample(rbgs.GumbelRao(temperature, 7), logits)

    temperatures = torch.linspace(3, 0.1, 20, dtype=torch.float64)
    assert programs_of(sample, [*temperatures, *temperatures.half()]) == [1] * 20 + [2] * 20


def test_a_compiled_layer_takes_a_temperature_and_is_evaluated():
    layer = door.Sampler(rbgs.GumbelRao(0.95, 7), deterministic_eval=True)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    compiled.temperature = 0.5  # reaches the layer inside
    assert layer.temperature == 0.5
    compiled.eval()
    assert torch.equal(compiled(LOGITS), layer(LOGITS))
    assert (compiled(LOGITS).argmax(dim=-1) == LOGITS.argmax(dim=-1)).all()


def program_lengths(estimator, rows):
    """Return how many operations the programs of a forward and of a backward pass have."""
    lengths = []

    def count(module, _):
        lengths.append(sum(node.op == "call_function" for node in module.graph.nodes))
        return make_boxed_func(module.forward)

    make_boxed_func = pytest.importorskip("functorch.compile").make_boxed_func
    autograd = pytest.importorskip("torch._dynamo.backends.common").aot_autograd
    torch.compiler.reset()
    compiled = torch.compile(
        lambda x: door.sample(estimator, x),
        fullgraph=True,
        dynamic=False,
        backend=autograd(fw_compiler=count, bw_compiler=count),
    )
    compiled(torch.zeros(rows, 40, requires_grad=True)).sum().backward()
    assert len(lengths) == 2
    return lengths


def test_the_program_does_not_grow_with_the_batch():
    estimator = rbgs.GumbelRao(0.5, 16)
    assert program_lengths(estimator, 4) == program_lengths(estimator, 20_000)


def traced_length(estimator, rows):
    """Return how many operations are recorded of a draw and its product."""

    def product(logits, noise, vector):
        return estimator.sample(logits, noise=noise).vjp(vector)

    logits = torch.zeros(rows, 40)
    make_fx = pytest.importorskip("torch.fx.experimental.proxy_tensor").make_fx
    traced = make_fx(product, tracing_mode="fake")(logits, estimator.noise(logits, 0), logits)
    return len(traced.graph.nodes)


@pytest.mark.parametrize("estimator", PATHWISE, ids=name)
def test_nor_does_what_is_traced(estimator):
    assert traced_length(estimator, 4) == traced_length(estimator, 30_000)


def test_the_program_hardly_grows_with_the_samples():
    few, many = (traced_length(rbgs.GumbelRao(0.5, k), 4) for k in (128, 2000))
    assert many < 1.2 * few


def test_a_training_step_raises_no_warning():
    logits = torch.nn.Parameter(torch.zeros(20, 3))
    step = torch.compile(lambda: door.gumbel_softmax(logits, 0.9, hard=True), backend="aot_eager")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step().square().sum().backward()
    assert [str(warning.message) for warning in caught] == []
    assert torch.isfinite(logits.grad).all()


@pytest.mark.slow  # it compiles C++
def test_inductor():
    estimator = rbgs.GumbelRao(0.5, 4)
    noise = estimator.noise(LOGITS, 0)

    def sample(logits):
        return door.sample(estimator, logits, noise=noise)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        assert_same(torch.compile(sample), sample, LOGITS, VECTOR)


TRANSFORMED = {
    "grad": lambda loss, x, n: torch.func.grad(loss)(x, n),
    "jvp": lambda loss, x, n: torch.func.jvp(partial(loss, noise=n), (x,), (VECTOR,))[1],
    "vmap of grad": lambda loss, x, n: torch.vmap(torch.func.grad(loss))(x, n),
    "grad of vmap": lambda loss, x, n: torch.func.grad(lambda x: torch.vmap(loss)(x, n).sum())(x),
}


@pytest.mark.parametrize("transformed", TRANSFORMED.values(), ids=TRANSFORMED)
def test_no_derivative_is_lost_inside_transformations(transformed):
    estimator = rbgs.GumbelRao(0.5, 7)
    noise = estimator.noise(LOGITS, 0)
    costs = torch.asarray(RANDOM.normal(size=4))

    def loss(logits, noise):
        return (door.sample(estimator, logits, noise=noise) * costs).sum()

    def whole(logits):
        return transformed(loss, logits, noise)

    expected = whole(LOGITS)
    assert expected.abs().sum() > 0
    close(torch.compile(whole, backend="aot_eager")(LOGITS), expected, atol=1e-9)
    torch.compiler.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="loses the derivative"):
        torch.compile(whole, backend="aot_eager", fullgraph=True)(LOGITS)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # PyTorch's compiler hides it
def test_vmap_alone_is_compiled_where_no_derivative_is_wanted():
    estimator = rbgs.GumbelRao(0.5, 7)
    noise = estimator.noise(LOGITS, 0)

    def rows(logits):
        return torch.vmap(lambda x, n: door.sample(estimator, x, noise=n))(logits, noise)

    with torch.no_grad():
        compiled = torch.compile(rows, backend="aot_eager", fullgraph=True)
        close(compiled(LOGITS), rows(LOGITS))
    assert_same(torch.compile(rows, backend="aot_eager"), rows, LOGITS, VECTOR)


def test_forward_mode_of_a_compiled_function():
    forward_ad = torch.autograd.forward_ad
    estimator = rbgs.GumbelRao(0.5, 7)
    noise = estimator.noise(LOGITS, 0)
    compiled = torch.compile(lambda x: door.sample(estimator, x, noise=noise), backend="aot_eager")
    with forward_ad.dual_level():
        dual = compiled(forward_ad.make_dual(LOGITS, VECTOR))
        tangent = forward_ad.unpack_dual(dual).tangent
    close(tangent, estimator.sample(LOGITS, noise=noise).jvp(VECTOR))


def test_an_estimator_with_a_structure_is_made_inside():
    def sample(logits, noise):
        estimator = rbgs.StraightThrough(0.5, rbgs.Subset(2))
        return rbgs.torch.sample(estimator, logits, noise=noise)

    logits, noise = torch.rand(3, 4), torch.rand(3, 4)
    found = torch.compile(sample, fullgraph=True, backend="eager")(logits, noise)
    assert torch.equal(found, sample(logits, noise))
