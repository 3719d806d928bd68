"""Straight-through estimators: a discrete value forward, the Jacobian of a relaxation backward."""

from dataclasses import dataclass

from rbgs.arrays.inputs import check_temperature
from rbgs.arrays.typing import Temperature
from rbgs.draw import Operator
from rbgs.estimators.base import Estimator
from rbgs.structures.structure import Outcome, Structure, check_structure


@dataclass(frozen=True, eq=False, repr=False)
class StraightThrough(Estimator):
    r"""Straight-through: a discrete sample, with the Jacobian of the softmax of the logits.

    For logits :math:`\theta` ``(..., n)`` the value is the one-hot
    :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))`, its derivative

    .. math::
        & J_\tau(\operatorname{softmax}(\theta / \tau)), \\
        & J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau.

    The derivative does not depend on the outcome.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch. The classic choice is 1.
    structure : Subset, SpanningTree, ..., optional
        What is drawn instead of one category; the derivative is that of its relaxation at the
        logits. For :class:`~rbgs.Subset` at temperature 1 it is SIMPLE's (Ahmed et al. 2023).

    Raises
    ------
    ValueError
        The temperature is not positive and finite.
    TypeError
        The temperature is not a float or a floating array.

    References
    ----------
    - Bengio, Léonard, Courville (2013). Estimating or propagating gradients through stochastic
      neurons for conditional computation. arXiv 1308.3432.
    - Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
      gradient estimator. ICLR. (Eq. 5.)
    - Ahmed, Zeng, Niepert, Van den Broeck (2023). SIMPLE: a gradient estimator for k-subset
      sampling. ICLR.
    - Chung, Ahn, Bengio (2017). Hierarchical multiscale recurrent neural networks. ICLR.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.StraightThrough().sample(np.asarray([0.0, 0.0]), rng=0)
    >>> draw.jacobian()
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """

    temperature: Temperature = 1.0
    structure: Structure | None = None

    def __post_init__(self) -> None:
        check_structure("structure", self.structure)
        object.__setattr__(self, "temperature", check_temperature(self.temperature))

    def _operator(self, outcome: Outcome) -> Operator:
        return self._structure.relaxed(outcome.rows, outcome.temperature)


@dataclass(frozen=True, eq=False, repr=False)
class StraightThroughGumbelSoftmax(Estimator):
    r"""Straight-through Gumbel-softmax: the winner forward, the relaxed sample's Jacobian backward.

    For logits :math:`\theta` ``(..., n)`` and iid Gumbels G the value is the one-hot D of
    :math:`\arg\max_j (\theta_j + G_j)`, its derivative

    .. math::
        & J_\tau(\operatorname{softmax}((\theta + G) / \tau)), \\
        & J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau,

    with the same Gumbels. It is what ``torch.nn.functional.gumbel_softmax(hard=True)`` computes;
    :class:`~rbgs.GumbelRao` has the same mean and less variance.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch.
    structure : Subset, SpanningTree, ..., optional
        What is drawn instead of one category.

    Raises
    ------
    ValueError
        The temperature is not positive and finite.
    TypeError
        The temperature is not a float or a floating array.

    References
    ----------
    - Jang, Gu, Poole (2017). Categorical reparameterization with Gumbel-softmax. ICLR. (Section
      2.2.)
    - Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
      gradient estimator. ICLR. (Eq. 6.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.StraightThroughGumbelSoftmax(temperature=0.5).sample(np.zeros((4, 3)), rng=0)
    >>> bool(np.all(draw.value.argmax(axis=-1) == draw.index))
    True
    """

    temperature: Temperature
    structure: Structure | None = None

    def __post_init__(self) -> None:
        check_structure("structure", self.structure)
        object.__setattr__(self, "temperature", check_temperature(self.temperature))

    @property
    def _random_given_outcome(self) -> bool:
        return True

    def _operator(self, outcome: Outcome) -> Operator:
        return self._structure.drawn(outcome)
