"""The tree-LSTM of Choi, Yoo & Lee (2018), which learns its own binary trees.

At each merge all adjacent pairs are composed, a categorical variable chooses one of them, and the
pair is replaced by its composition, until one node is left.
"""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rbgs
import rbgs.jax

Linear = tuple[jax.Array, jax.Array]  # a weight ``(inputs, outputs)`` and a bias
Nodes = tuple[jax.Array, jax.Array]  # hidden and cell, each ``(batch, node, size)``

# A block of merges is one loop, as wide as its first merge: more of them waste less, but each is a
# program of its own to compile.
_BLOCKS = 2


class TreeLSTM(NamedTuple):
    """The weights.

    Attributes
    ----------
    embedding : array ``(vocabulary, size)``
        Of the tokens.
    leaf : weight and bias
        From an embedding to the hidden and the cell of a node.
    composition : weight and bias
        From two hidden to the five gates.
    query : array ``(size,)``
        Scores a composition by its hidden.
    layer, output : weights and biases
        The classifier of the root.
    """

    embedding: jax.Array
    leaf: Linear
    composition: Linear
    query: jax.Array
    layer: Linear
    output: Linear


def initialise(key: jax.Array, vocabulary: int, classes: int, size: int) -> TreeLSTM:
    """Draw the weights; embeddings, nodes and the classifier's layer have the same size."""
    keys = jax.random.split(key, 6)
    orthogonal = jax.nn.initializers.orthogonal()
    return TreeLSTM(
        jax.random.normal(keys[0], (vocabulary, size)),
        _linear(keys[1], size, 2 * size),
        (orthogonal(keys[2], (2 * size, 5 * size)), jnp.zeros(5 * size)),
        _linear(keys[3], size, 1)[0][:, 0],
        _linear(keys[4], size, size),
        _linear(keys[5], size, classes),
    )


def _linear(key: jax.Array, inputs: int, outputs: int) -> Linear:
    bound = 1 / math.sqrt(inputs)
    of_weight, of_bias = jax.random.split(key)
    return (
        jax.random.uniform(of_weight, (inputs, outputs), minval=-bound, maxval=bound),
        jax.random.uniform(of_bias, (outputs,), minval=-bound, maxval=bound),
    )


def classify(
    model: TreeLSTM,
    tokens: jax.Array,
    lengths: jax.Array,
    estimator: rbgs.Estimator | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Return the logits of the labels.

    Parameters
    ----------
    model : TreeLSTM
        The weights.
    tokens : int array ``(batch, longest)``
        Padded behind the lengths with any token.
    lengths : int array ``(batch,)``
        How many tokens of each row count, at least 1.
    estimator : rbgs.Estimator, optional
        Draws the choices; by default the likeliest pair is chosen.
    key : JAX key, optional
        For the estimator.

    Returns
    -------
    array ``(batch, classes)``
        Unnormalised log-probabilities.
    """
    batch, longest = tokens.shape
    # The product with one-hot rows has a faster derivative than an index.
    leaves = model.embedding @ model.leaf[0] + model.leaf[1]
    nodes = jax.nn.one_hot(tokens, len(leaves), dtype=leaves.dtype) @ leaves
    hidden, cell = jnp.split(nodes, 2, axis=-1)
    bounds = np.linspace(0, longest - 1, _BLOCKS + 1).round().astype(int)
    for start, stop in pairwise(np.unique(bounds).tolist()):
        pairs = lengths - 1 - jnp.arange(start, stop)[:, None]  # (merge, batch)
        noise = None
        if estimator is not None:
            like = jnp.zeros((stop - start, batch, longest - 1 - start), leaves.dtype)
            noise = estimator.noise(like, jax.random.fold_in(key, start))  # of all merges at once
        merge = partial(_merge, model, estimator)
        (hidden, cell), _ = jax.lax.scan(merge, (hidden, cell), (pairs, noise))
        hidden, cell = hidden[:, : longest - stop], cell[:, : longest - stop]
    weight, bias = model.layer
    root = jax.nn.relu(hidden[:, 0] @ weight + bias)
    return root @ model.output[0] + model.output[1]


def _merge(
    model: TreeLSTM,
    estimator: rbgs.Estimator | None,
    nodes: Nodes,
    pairs_and_noise: tuple[jax.Array, jax.Array | None],
) -> tuple[Nodes, None]:
    """Replace a pair of each row by its composition; the last node keeps its place, unused."""
    pairs, noise = pairs_and_noise
    compositions = _compose(model, *nodes)
    scores = compositions[0] @ model.query
    # A finished row keeps one pair, whose choice is ignored below.
    mask = jnp.arange(scores.shape[-1]) < jnp.maximum(pairs, 1)[:, None]
    if estimator is None:
        best = jnp.where(mask, scores, -jnp.inf).argmax(axis=-1)
        chosen = jax.nn.one_hot(best, scores.shape[-1], dtype=scores.dtype)
    else:
        chosen = rbgs.jax.sample(estimator, None, scores, noise=noise, mask=mask)
    # A product with a matrix of ones is one kernel, a cumulative sum several.
    up_to = chosen @ jnp.triu(jnp.ones((chosen.shape[-1],) * 2, chosen.dtype))
    here, before = chosen[..., None], (1 - up_to)[..., None]
    behind = (up_to - chosen)[..., None]
    finished = (pairs <= 0)[:, None, None]

    def replaced(old: jax.Array, new: jax.Array) -> jax.Array:
        merged = here * new + before * old[:, :-1] + behind * old[:, 1:]
        return jnp.concatenate([jnp.where(finished, old[:, :-1], merged), old[:, -1:]], axis=1)

    hidden, cell = map(replaced, nodes, compositions)
    return (hidden, cell), None


def _compose(model: TreeLSTM, hidden: jax.Array, cell: jax.Array) -> Nodes:
    """Return the compositions of all adjacent pairs."""
    weight, bias = model.composition
    size = hidden.shape[-1]
    gates = jnp.concatenate([hidden[:, :-1], hidden[:, 1:]], axis=-1) @ weight + bias
    # Forget gates that start open.
    opened = np.repeat([0.0, 1.0, 1.0, 0.0], size).astype(gates.dtype)
    i, left, right, o = jnp.split(jax.nn.sigmoid(gates[..., : 4 * size] + opened), 4, axis=-1)
    kept = cell[:, :-1] * left + cell[:, 1:] * right
    new_cell = kept + jnp.tanh(gates[..., 4 * size :]) * i
    return o * jnp.tanh(new_cell), new_cell
