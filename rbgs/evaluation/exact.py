"""The gradient of an expectation, by enumeration of the outcomes."""

import math
from collections.abc import Iterator

from rbgs.arrays.inputs import check_count
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.oracle import Answer, evaluate
from rbgs.arrays.rows import read_logits
from rbgs.arrays.settings import own_settings
from rbgs.arrays.typing import Array, Oracle
from rbgs.evaluation.outcomes import JointOutcomes, Outcomes, check_enumerable
from rbgs.structures.categorical import CATEGORICAL
from rbgs.structures.structure import Structure, check_structure

# Elements of the values that the oracle is given at once.
_BLOCK = 2**22


@instead_of(dim="axis")
def exact_gradient(
    oracle: Oracle,
    logits: Array,
    *,
    structure: Structure | None = None,
    mask: Array | None = None,
    axis: int = -1,
    samples: int = 1,
    max_outcomes: int = 2**16,
) -> Array:
    r"""Return the gradient of :math:`E[f(D)]` for the logits, by evaluating every outcome.

    .. math:: \nabla_{\theta_l} E[f] = \sum_D p(D)
        \Big(f(D) \nabla_{\theta_l} \log p(D_l) + \nabla_{\theta_l} f(D)\Big)

    over the joint outcomes :math:`D = (D_1, \dots, D_L)` of the L variables that share a loss,
    :math:`p(D) = \prod_l p(D_l)`. Of categories these are :math:`n^L`, and the score
    :math:`\nabla \log p(D_l)` is :math:`D_l - p_l`. That of another structure S is

    .. math:: \frac{\partial \log p(S)}{\partial \theta_e} = [e \in S]
        - E\Big[\sum_{s \le s(e)} \frac{\lambda_e}{\Lambda_s} \Big| S\Big],

    the mean over the orders in which its elements are taken, s(e) being the step at which e is
    taken or becomes spanned, :math:`\lambda = e^\theta`, and :math:`\Lambda_s` the sum of the rates
    of the elements that are neither taken nor spanned before step s.

    Parameters
    ----------
    oracle : callable
        ``oracle(value)`` returns the loss, ``(loss, dloss_dvalue)`` or, with its direct gradient
        for the logits, ``(loss, dloss_dvalue, dloss_dlogits)``; the second is not used and may be
        None. The value has a further leading axis, of outcomes, and so have the answers. Behind it
        the loss has the axes of the batch, without the last ones if all variables along them share
        it.
    logits : floating array ``(..., n)``
        Unnormalised log-probabilities.
    structure : Subset, SpanningTree, ..., optional
        What is drawn instead of one category.
    mask : bool array ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits. An outcome of probability
        zero adds nothing, whatever its loss.
    axis : int
        The category axis.
    samples : int
        Above 1, M: the gradient of the multi-sample bound
        :math:`E[-\log \frac{1}{M} \sum_m e^{-f(D^m)}]` instead, over the joint
        outcomes of M independent draws: what :class:`~rbgs.Vimco` estimates.
    max_outcomes : int
        How many joint outcomes are enumerated at most; as many as a variable has categories are in
        any case. Those that are masked count.

    Returns
    -------
    array ``(..., n)``
        The gradient, in the library, dtype and device of the logits.

    Raises
    ------
    TypeError, ValueError
        As in ``sample``; what the oracle returns does not fit the value; there are more joint
        outcomes than ``max_outcomes``; or a structure has more than 12 elements.

    Notes
    -----
    Whether the oracle returns one loss for all variables of an example or one for each of them
    makes a difference: each of them would be put to the same category in the second case, and a
    function of all of them at once would be evaluated there alone.

    A row that cannot be answered (see ``sample``) is NaN, and so are those that share its loss.

    The score of a structure of r elements takes time and memory in proportion to
    :math:`2^r n`, so r is 12 at most.

    References
    ----------
    - Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
      gradient estimator. ICLR. (Eq. 2.)
    - Struminsky, Gadetsky, Rakitin, Karpushkin, Vetrov (2021). Leveraging recursive gradient
      estimators for combinatorial structures. arXiv 2110.15072. (The score of an order.)
    - Mnih, Rezende (2016). Variational inference for Monte Carlo objectives. ICML. (The bound.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> cost = np.asarray([1.0, 2.0, 3.0])
    >>> rbgs.exact_gradient(lambda value: value @ cost, np.zeros(3)).round(4)
    array([-0.3333,  0.    ,  0.3333])

    Two variables share the loss, 1 where they agree:

    >>> logits = np.asarray([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> rbgs.exact_gradient(lambda value: value.prod(axis=-2).sum(axis=-1), logits).round(4)
    array([[ 0.    ,  0.    ,  0.    ],
           [ 0.0809, -0.0405, -0.0405]])

    Two of three, of which the last two must not come together:

    >>> logits = np.asarray([1.0, 0.0, 0.0])
    >>> rbgs.exact_gradient(
    ...     lambda value: value[..., 1] * value[..., 2], logits, structure=rbgs.Subset(2)).round(4)
    array([-0.149 ,  0.0745,  0.0745])
    """
    check_structure("structure", structure)
    structure = CATEGORICAL if structure is None else structure
    samples = check_count("samples", samples)
    max_outcomes = check_count("max_outcomes", max_outcomes)
    with own_settings():
        rows = read_logits(logits, mask, axis)
        structure.check(rows.n)
    xp = array_namespace(rows.log_probs)
    check_enumerable(structure, rows.n, 1, samples, max_outcomes)
    outcomes = JointOutcomes(structure, rows)
    # Its loss shows how many variables share one.
    found = evaluate(oracle, outcomes.first(), rows.axis, leading=1)
    shared = rows.batch[found.loss.ndim - 1 :]
    check_enumerable(structure, rows.n, math.prod(shared), samples, max_outcomes)
    size = max(1, _BLOCK // max(1, rows.n * math.prod(rows.batch)))

    def blocks() -> Iterator[tuple[Outcomes, Answer]]:
        for block in outcomes.blocks(shared, size):
            value = outcomes.in_layout(block.values)
            yield block, evaluate(oracle, value, rows.axis, leading=1)

    loss = weight = None
    if samples > 1:
        pairs = [(answer.loss, block.chances) for block, answer in blocks()]
        with own_settings():
            losses, chances = (xp.concat(list(each), axis=0) for each in zip(*pairs, strict=True))
            loss, weight = _multi_sample(losses, chances, samples)
    gradient: Array = 0.0
    total: Array = 0.0
    start = 0
    of_each = (..., *(None,) * len(shared), None)  # what a loss has, beside the logits

    for block, answer in blocks():
        with own_settings():
            chance, stop = block.chances, start + block.chances.shape[0]
            happens = chance > 0
            its_loss = answer.loss if loss is None else loss[start:stop, ...]
            its_loss = xp.astype(its_loss, chance.dtype, copy=False)
            weighted = xp.where(happens, chance * its_loss, 0.0)
            gradient = gradient + xp.sum(block.scores * weighted[of_each], axis=0)
            if answer.direct is not None:
                factor = chance if weight is None else chance * weight[start:stop, ...]
                direct = xp.astype(answer.direct, chance.dtype, copy=False)
                direct = factor[of_each] * xp.moveaxis(direct, rows.axis, -1)
                direct = xp.where(happens[of_each], direct, 0.0)
                gradient = gradient + xp.sum(direct, axis=0)
            total = total + xp.sum(chance, axis=0)
            start = stop
    with own_settings():
        return outcomes.in_layout(xp.where(total[of_each] > 0, gradient, math.nan))


def _multi_sample(losses: Array, chances: Array, samples: int) -> tuple[Array, Array]:
    r"""Return what replaces loss and direct gradient of an outcome in the multi-sample bound.

    By symmetry that is M times the mean of the bound, and of
    :math:`e^{-f(D^1)} / \sum_m e^{-f(D^m)}`, over the other draws given the first one.
    """
    xp = array_namespace(chances)
    losses = xp.where(chances > 0, xp.astype(losses, chances.dtype, copy=False), math.inf)
    least = xp.min(losses, axis=0)
    evidence = xp.exp(least - losses)
    others, together = evidence, chances
    for _ in range(samples - 2):
        others = xp.reshape(others[:, None, ...] + evidence, (-1, *least.shape))
        together = xp.reshape(together[:, None, ...] * chances, (-1, *least.shape))
    total = evidence[:, None, ...] + others
    together = samples * together

    def mean(x: Array) -> Array:
        return xp.sum(xp.where(together > 0, together * x, 0.0), axis=1)

    return mean(least - xp.log(total / samples)), mean(evidence[:, None, ...] / total)
