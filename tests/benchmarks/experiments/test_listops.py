"""ListOps: its language and its files; its model against an enumeration of the trees."""

import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from backends import Backend

import rbgs

pytest.importorskip("optax")
jax = pytest.importorskip("jax")
Backend.JAX.load()

from jax.test_util import check_grads  # noqa: E402

from benchmarks.experiments import estimators, listops, training, tree_lstm  # noqa: E402
from benchmarks.experiments import listops_data as data  # noqa: E402

pytestmark = pytest.mark.usefixtures("single_precision", "without_the_engine")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7", 7),
        ("[MIN 4 2 9 ]", 2),
        ("[MAX 4 2 9 ]", 9),
        ("[SM 4 2 9 ]", 5),
        ("[MED 4 2 9 ]", 4),
        ("[MED 4 2 9 7 ]", 5),  # the mean of the middle two, rounded down
        ("[MAX 2 [MIN 4 7 ] 0 ]", 4),
        ("[SM [SM 9 9 ] [MED 1 [MAX 3 8 ] 5 ] 6 ]", 9),
    ],
)
def test_evaluate(expression, value):
    assert data.evaluate(expression.split()) == value


@pytest.mark.parametrize(
    "expression", ["", "1 2", "[MIN ]", "[MIN 1 2", "1 ]", "[MIN 1 2 ] ]", "[SUM 1 2 ]", "12"]
)
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(ValueError, match=r"expression|unexpected"):
        data.evaluate(expression.split())


def test_generated_expressions():
    examples = data.generate(3000, 10, np.random.default_rng(0))
    expressions = {example.tokens for example in examples}
    assert len(expressions) == 3000
    assert {len(tokens) for tokens in expressions} == set(range(4, 11))
    for tokens, label in examples:
        assert tokens[0] in data.OPERATORS
        assert label == data.evaluate(tokens)
    operators = [token for tokens in expressions for token in tokens if token in data.OPERATORS]
    assert min(operators.count(name) for name in data.OPERATORS) > 0.2 * len(operators)


def test_the_generator_has_the_published_parameters():
    # Without a limit: 2 to 5 arguments, of which one in four is an operator.
    examples = data.generate(4000, 10**6, np.random.default_rng(0))
    inner = [t for x in examples for t in x.tokens[1:] if t != data.END]
    share = np.mean([token in data.OPERATORS for token in inner])
    assert abs(share - 0.25) < 0.01


def test_the_generator_leaves_out_and_refuses():
    rng = np.random.default_rng(0)
    known = frozenset(example.tokens for example in data.generate(300, 4, rng))
    assert not known & {example.tokens for example in data.generate(50, 4, rng, known)}
    with pytest.raises(ValueError, match="4 tokens"):
        data.generate(1, 3, rng)


def test_a_published_file_is_read(tmp_path):
    path = tmp_path / "valid.tsv"
    path.write_text(
        "9\t( ( ( ( ( [SM 9 ) ( ( ( ( ( [MED 4 ) 3 ) 0 ) 8 ) ] ) ) 9 ) 8 ) ] )\n"
        "2\t( ( ( [MAX 2 ) 1 ) ] )\n"
    )
    (short,) = data.read_tsv(path, 4)
    assert short == data.Example(("[MAX", "2", "1", "]"), 2)
    assert len(data.read_tsv(path, 100)) == 2
    path.write_text("3\t( ( ( [MAX 2 ) 1 ) ] )\n")
    with pytest.raises(ValueError, match="line 1"):
        data.read_tsv(path, 100)


def test_splits_are_disjoint_and_read_where_they_can_be(tmp_path):
    tmp_path.joinpath("test.tsv").write_text("2\t( ( ( [MAX 2 ) 1 ) ] )\n")
    splits = data.load(tmp_path, 5, (400, 100, 50), np.random.default_rng(0))
    assert [len(split) for split in splits] == [400, 100, 1]
    assert len({x.tokens for split in splits for x in split}) == 501


def test_padded_examples():
    examples = data.generate(200, 8, np.random.default_rng(1))
    tokens, lengths, labels = data.padded(examples, 9)
    assert tokens.shape == (200, 9)
    for example, row, length, label in zip(examples, tokens, lengths, labels, strict=True):
        assert example == (tuple(data.VOCABULARY[number] for number in row[:length]), label)


@pytest.fixture(scope="module")
def model():
    with jax.enable_x64(False):
        make = jax.jit(tree_lstm.initialise, static_argnums=(1, 2, 3))
        return make(jax.random.key(0), len(data.VOCABULARY), 10, 8)


@partial(jax.jit, static_argnames="estimator")
def classify(model, tokens, lengths, estimator=None, key=None):
    return tree_lstm.classify(model, tokens, lengths, estimator, key)


@pytest.fixture
def tokens():
    numbers = np.random.default_rng(0).integers(len(data.VOCABULARY), size=(5, 7))
    return jax.numpy.asarray(numbers)


def composed(model, left, right):
    """The composition of two nodes, by the equations of Choi et al."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    gates = np.concatenate([left[0], right[0]]) @ model.composition[0] + model.composition[1]
    i, f, g, o, u = np.split(gates, 5)
    cell = left[1] * sigmoid(f + 1) + right[1] * sigmoid(g + 1) + np.tanh(u) * sigmoid(i)
    return sigmoid(o) * np.tanh(cell), cell


def trees(model, tokens):
    """Yield all trees of a row: the places chosen, their probability, the logits."""

    def go_on(nodes, places, probability):
        if len(nodes) == 1:
            hidden = np.maximum(nodes[0][0] @ model.layer[0] + model.layer[1], 0)
            yield places, probability, hidden @ model.output[0] + model.output[1]
            return
        pairs = [composed(model, *pair) for pair in itertools.pairwise(nodes)]
        weights = np.exp([hidden @ model.query for hidden, _ in pairs])
        for place, pair in enumerate(pairs):
            yield from go_on(
                [*nodes[:place], pair, *nodes[place + 2 :]],
                (*places, place),
                probability * weights[place] / weights.sum(),
            )

    model, tokens = jax.tree.map(np.asarray, (model, tokens))
    leaves = model.embedding[tokens] @ model.leaf[0] + model.leaf[1]
    yield from go_on([tuple(np.split(leaf, 2)) for leaf in leaves], (), 1.0)


def greedy(model, tokens):
    """The logits of the tree whose every choice is the likeliest."""

    def margin(tree):  # lexicographic: the first choice decides, then the second
        places = tree[0]
        return [-firsts[places[: k + 1]] for k in range(len(places))]

    every = list(trees(model, tokens))
    firsts = {}
    for places, probability, _ in every:
        for k in range(len(places)):
            firsts[places[: k + 1]] = firsts.get(places[: k + 1], 0.0) + probability
    return min(every, key=margin)[2]


def test_the_likeliest_tree_is_that_of_the_enumeration(model, tokens):
    lengths = jax.numpy.asarray([5, 4, 3, 2, 1])
    model = model._replace(query=20 * model.query)
    logits = classify(model, tokens[:, :5], lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(logits[row], greedy(model, tokens[row, :length]), atol=2e-5)


def test_padding_makes_no_difference(model, tokens):
    lengths = jax.numpy.asarray([7, 6, 4, 2, 1])
    logits = classify(model, tokens, lengths)
    for row, length in enumerate(lengths):
        alone = tokens[row : row + 1, : max(2, length)]
        alone = classify(model, alone, lengths[row : row + 1])
        np.testing.assert_allclose(logits[row], alone[0], atol=2e-5)
    other = jax.numpy.where(jax.numpy.arange(7) < lengths[:, None], tokens, 3)
    for estimator in (None, rbgs.GumbelRao(0.5)):
        results = [
            classify(model, x, lengths, estimator, jax.random.key(0)) for x in (tokens, other)
        ]
        np.testing.assert_array_equal(*results)


def test_trees_are_drawn_with_their_probabilities(model, tokens):
    # A tree is recognised by its logits; its share is within 4.5 standard errors.
    model = model._replace(query=3 * model.query)
    draws, lengths = 20_000, jax.numpy.asarray([5, 3])
    for estimator in (rbgs.GumbelRao(0.1), rbgs.StraightThroughGumbelSoftmax(1.0)):
        many = jax.vmap(lambda key, e=estimator: classify(model, tokens[:2, :5], lengths, e, key))(
            jax.random.split(jax.random.key(0), draws)
        )
        for row, length in enumerate(lengths):
            expected = {}  # in several orders the same tree may come about
            for _, probability, logits in trees(model, tokens[row, :length]):
                expected.setdefault(tuple(np.round(logits, 3)), []).append((probability, logits))
            found = 0
            for group in expected.values():
                p = sum(probability for probability, _ in group)
                share = np.mean(np.abs(many[:, row] - group[0][1]).max(axis=-1) < 2e-4)
                assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / draws)
                found += share
            assert abs(found - 1) < 1e-6


def test_the_derivative_of_relaxed_choices_is_that_of_the_value(model, tokens):
    lengths = jax.numpy.asarray([7, 6, 4, 2, 1])

    @jax.jit
    def loss(model):
        estimator, key = rbgs.GumbelSoftmax(0.7), jax.random.key(1)
        return (tree_lstm.classify(model, tokens, lengths, estimator, key) ** 2).mean()

    with jax.enable_x64(True):
        model = jax.tree.map(lambda x: jax.numpy.asarray(x, "float64"), model)
        check_grads(loss, (model,), 1, ["rev"], eps=1e-5)


def test_the_query_learns_through_the_choices(model, tokens):
    lengths = jax.numpy.asarray([7, 6, 5, 3, 1])
    for estimator in (rbgs.GumbelRao(0.01), rbgs.StraightThroughGumbelSoftmax(1.0)):

        @jax.jit
        @jax.jacrev
        def gradients(model, estimator=estimator):
            logits = tree_lstm.classify(model, tokens, lengths, estimator, jax.random.key(0))
            return (logits**2).sum(axis=-1)

        rows = gradients(model)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(rows))
        assert (np.abs(rows.query[:4]).sum(axis=-1) > 0).all()
        assert (rows.query[4] == 0).all()  # one token: there is nothing to choose


@pytest.mark.slow
def test_runs_learn_together_and_each_by_itself():
    config = listops.Config(
        longest=5,
        batch=32,
        size=32,
        learning_rate=0.3,
        clip=1.0,
        budget=600,
        evaluations=2,
        examples=3000,
        held_out=300,
    )
    problem = listops.problem(config, None)
    for name in ("ST-GS", "GR"):
        base = replace(config, estimator=name)
        configs = [base, replace(base, seed=1), replace(base, learning_rate=1e20)]
        (first, second, diverged), weights = training.train(problem, configs)
        assert first["curve"] != second["curve"]
        for number in range(2):
            tested = training.test(problem, training.one_of(weights, number))
            assert 0.05 < tested["majority"] < 0.3
            assert tested["test"] > tested["majority"] + 0.25
        assert "FloatingPointError" in diverged["error"]


def test_the_batch_is_as_large_as_the_longest_expression():
    assert listops.Config(longest=25).batch_size == 25
    assert listops.Config(longest=25, batch=7).batch_size == 7


def test_blocks_of_rows_make_no_difference(model):
    examples = data.generate(310, 6, np.random.default_rng(0))
    arrays = data.Arrays(*map(jax.numpy.asarray, data.padded(examples, 6)))
    right = classify(model, *arrays[:2]).argmax(axis=-1) == arrays.labels
    assert listops.accuracy(model, arrays) == pytest.approx(right.mean())


@pytest.mark.parametrize("name", ["REINFORCE", "RLOO", "Systematic GR"])
def test_an_estimator_without_a_derivative_of_one_draw_is_refused(model, tokens, name):
    estimator = estimators.make(name, 0.5, estimators.knobs(name)[0])
    with pytest.raises(TypeError, match=f"{type(estimator).__name__} needs the loss of each"):
        tree_lstm.classify(model, tokens, tokens[:, 0], estimator, jax.random.key(0))
