"""ListOps: its language, its files, its batches and its model."""

import numpy as np
import pytest

data = pytest.importorskip("benchmarks.experiments.listops_data")


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


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_batches_hold_every_example_once(rng):
    examples = data.generate(500, 12, np.random.default_rng(1))
    seen, padding = [], 0
    for tokens, lengths, labels in data.batches(examples, 16, rng):
        assert len(tokens) <= 16
        padding += (tokens.shape[1] - lengths).sum()
        for row, length, label in zip(tokens, lengths, labels, strict=True):
            expression = tuple(data.VOCABULARY[number] for number in row[:length])
            seen.append(data.Example(expression, label))
    assert sorted(seen) == sorted(examples)
    assert padding < 0.1 * sum(len(example.tokens) for example in examples)


@pytest.fixture
def model():
    torch = pytest.importorskip("torch")
    from benchmarks.experiments.tree_lstm import TreeLSTM

    torch.manual_seed(0)
    return TreeLSTM(len(data.VOCABULARY), 10, 8)


def test_padding_makes_no_difference(model):
    import torch

    import rbgs

    tokens = torch.randint(len(data.VOCABULARY), (3, 9), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9, 4, 1])
    logits = model(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = model(tokens[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(logits[row], alone[0])
    other = tokens.clone()
    other[1, 4:], other[2, 1:] = 0, 1
    torch.testing.assert_close(model(other, lengths), logits)
    results = [
        model(x, lengths, rbgs.GumbelRao(0.5), torch.Generator().manual_seed(0))
        for x in (tokens, other)
    ]
    torch.testing.assert_close(*results)


def test_the_query_learns_through_the_choices(model):
    import torch

    import rbgs

    tokens = torch.randint(len(data.VOCABULARY), (5, 7), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([7, 6, 5, 3, 2])
    for estimator in (rbgs.GumbelRao(0.01), rbgs.StraightThroughGumbelSoftmax(1.0)):
        model.zero_grad()
        model(
            tokens, lengths, estimator, torch.Generator().manual_seed(0)
        ).square().sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert model.query.weight.grad.abs().sum() > 0


def test_a_run_is_determined_by_its_configuration():
    pytest.importorskip("torch")
    listops = pytest.importorskip("benchmarks.experiments.listops")
    config = listops.Config(
        longest=6, size=8, iterations=10, evaluations=2, examples=300, held_out=50
    )
    first, second = listops.train(config), listops.train(config)
    assert first["curve"] == second["curve"]
    assert [point["step"] for point in first["curve"]] == [0, 5, 10]
    assert 0 <= first["majority"] <= 1


def test_a_run_that_diverges_says_so():
    pytest.importorskip("torch")
    listops = pytest.importorskip("benchmarks.experiments.listops")
    config = listops.Config(
        longest=6, size=8, learning_rate=1e20, iterations=20, examples=300, held_out=50
    )
    with pytest.raises(FloatingPointError, match="diverged; lower the learning rate"):
        listops.train(config)
