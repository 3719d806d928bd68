"""ListOps of Nangia & Bowman (2018): nested list operations with a digit as value.

An expression is a sequence of tokens such as ``[MAX 2 [MIN 4 7 ] 0 ]``. The published files write
its binary parse as parentheses between them, which the task hides from the model.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

OPERATORS: dict[str, Callable[[Sequence[int]], int]] = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: int(statistics.median(values)),
    "[SM": lambda values: sum(values) % 10,
}
END = "]"
VOCABULARY = (*map(str, range(10)), *OPERATORS, END)
NUMBERS = {token: number for number, token in enumerate(VOCABULARY)}

# The published generator's parameters.
_OPERATOR_PROBABILITY = 0.25
_MOST_ARGUMENTS = 5
_DEEPEST = 20


class Example(NamedTuple):
    """An expression without parentheses, and its value."""

    tokens: tuple[str, ...]
    label: int


class Splits(NamedTuple):
    """Examples to train, validate and test with; no expression is in two of them."""

    train: list[Example]
    valid: list[Example]
    test: list[Example]


class Arrays(NamedTuple):
    """Examples as integers, in arrays of any library.

    Attributes
    ----------
    tokens : int array ``(example, longest)``
        Numbers of the vocabulary.
    lengths, labels : int arrays ``(example,)``
        How many of the tokens count, and the values.
    """

    tokens: Any
    lengths: Any
    labels: Any


def evaluate(tokens: Sequence[str]) -> int:
    """Return the value of an expression.

    Parameters
    ----------
    tokens : sequence of str
        Of the vocabulary.

    Returns
    -------
    int
        A digit.

    Raises
    ------
    ValueError
        The tokens are not one expression.
    """
    # One list of values for each operator that is open, below them what was read outside.
    open_operators: list[str] = []
    values: list[list[int]] = [[]]
    for token in tokens:
        if token in OPERATORS:
            open_operators.append(token)
            values.append([])
        elif token == END and open_operators and values[-1]:
            value = OPERATORS[open_operators.pop()](values.pop())
            values[-1].append(value)
        elif token in NUMBERS and token != END:
            values[-1].append(int(token))
        else:
            raise ValueError(f"unexpected {token!r} in {' '.join(tokens)!r}")
    if open_operators or len(values[0]) != 1:
        raise ValueError(f"not one expression: {' '.join(tokens)!r}")
    return values[0][0]


def generate(
    count: int,
    longest: int,
    rng: np.random.Generator,
    without: frozenset[tuple[str, ...]] = frozenset(),
) -> list[Example]:
    """Draw distinct expressions from the published distribution, given their length.

    Parameters
    ----------
    count : int
        How many.
    longest : int
        The largest number of tokens, at least 4; longer ones and single digits are drawn again.
    rng : numpy.random.Generator
        The source of randomness.
    without : frozenset
        Expressions to leave out.

    Returns
    -------
    list of Example
        In the order drawn.
    """
    if longest < 4:
        raise ValueError(f"the shortest expression with an operator has 4 tokens, not {longest}")
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        tokens: list[str] = []
        if _expression(tokens, longest, rng, operator=True, depth=1):
            expression = tuple(tokens)
            if expression not in without:
                found[expression] = None
    return [Example(tokens, evaluate(tokens)) for tokens in found]


def _expression(
    tokens: list[str], longest: int, rng: np.random.Generator, *, operator: bool, depth: int
) -> bool:
    """Append an expression; return whether it is short enough."""
    if not operator:
        tokens.append(VOCABULARY[rng.integers(10)])
        return len(tokens) <= longest
    tokens.append(VOCABULARY[10 + rng.integers(len(OPERATORS))])
    for _ in range(rng.integers(2, _MOST_ARGUMENTS + 1)):
        nested = depth < _DEEPEST and rng.random() < _OPERATOR_PROBABILITY
        if not _expression(tokens, longest, rng, operator=nested, depth=depth + 1):
            return False
    tokens.append(END)
    return len(tokens) <= longest


def read_tsv(path: Path, longest: int) -> list[Example]:
    """Read a published file: a label, a tab and an expression with parentheses on each line.

    Parameters
    ----------
    path : Path
        The file.
    longest : int
        The largest number of tokens without parentheses; longer ones are left out.

    Returns
    -------
    list of Example
        In the file's order.

    Raises
    ------
    ValueError
        A line is not of that form, or its label is not the value of its expression.
    """
    examples = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        label, tab, expression = line.partition("\t")
        tokens = tuple(token for token in expression.split() if token not in "()")
        if not tab or not label.isdecimal() or evaluate(tokens) != int(label):
            raise ValueError(f"{path}, line {number}: the label is not the expression's value")
        if len(tokens) <= longest:
            examples.append(Example(tokens, int(label)))
    return examples


def load(
    folder: Path | None, longest: int, sizes: tuple[int, int, int], rng: np.random.Generator
) -> Splits:
    """Read the splits that are files of a folder, and generate the others.

    Parameters
    ----------
    folder : Path, optional
        With any of ``train.tsv``, ``valid.tsv`` and ``test.tsv``.
    longest : int
        The largest number of tokens.
    sizes : tuple of int
        How many examples of each split to generate, where it is not read.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    Splits
        Training examples that are in a later split too are left out.
    """
    splits: dict[str, list[Example]] = {}
    seen: frozenset[tuple[str, ...]] = frozenset()
    for name, size in zip(("test", "valid", "train"), reversed(sizes), strict=True):
        path = folder / f"{name}.tsv" if folder is not None else None
        if path is not None and path.exists():
            examples = [x for x in read_tsv(path, longest) if x.tokens not in seen]
        else:
            examples = generate(size, longest, rng, without=seen)
        splits[name] = examples
        seen |= {x.tokens for x in examples}
    return Splits(**splits)


def padded(examples: Sequence[Example], longest: int) -> Arrays:
    """Return examples as arrays; any token fills a row behind its length."""
    tokens = np.zeros((len(examples), longest), dtype=np.int32)
    for row, example in zip(tokens, examples, strict=True):
        row[: len(example.tokens)] = [NUMBERS[token] for token in example.tokens]
    lengths = np.asarray([len(x.tokens) for x in examples], dtype=np.int32)
    return Arrays(tokens, lengths, np.asarray([x.label for x in examples], dtype=np.int32))
