"""The relaxation: Gumbel-softmax, also called Concrete."""

from dataclasses import dataclass
from typing import Any

from rbgs.arrays.inputs import check_temperature
from rbgs.arrays.reuse import copied
from rbgs.arrays.typing import Array, Temperature
from rbgs.estimators.base import Estimator
from rbgs.structures.structure import Outcome, Relaxed, Structure, check_structure


@dataclass(frozen=True, eq=False, repr=False)
class GumbelSoftmax(Estimator):
    r"""The relaxed sample :math:`s = \operatorname{softmax}((\theta + G) / \tau)` and its Jacobian.

    For logits :math:`\theta` ``(..., n)`` and iid Gumbels G the value is s itself, a point on the
    simplex, and its derivative :math:`J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau`. The
    gradient is biased for the discrete loss, exact for the relaxed one.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch.
    structure : Subset, SpanningTree, ..., optional
        What is relaxed instead of one category: the value is a relaxed structure.

    Raises
    ------
    ValueError
        The temperature is not positive and finite.
    TypeError
        The temperature is not a float or a floating array.

    References
    ----------
    - Jang, Gu, Poole (2017). Categorical reparameterization with Gumbel-softmax. ICLR. (Eq. 2.)
    - Maddison, Mnih, Teh (2017). The Concrete distribution. ICLR.
    - Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
      gradient estimator. ICLR. (Eq. 4.)

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> draw = rbgs.GumbelSoftmax(temperature=1.0).sample(np.zeros(3), rng=0)
    >>> bool(np.isclose(draw.value.sum(), 1))
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

    def _operator(self, outcome: Outcome) -> Relaxed:
        return self._structure.drawn(outcome)

    def _value(self, outcome: Outcome, operator: Any) -> Array:
        relaxed: Relaxed = operator
        return copied(relaxed.first())
