"""The Gumbel-Rao estimator."""

from dataclasses import dataclass
from typing import Any, Literal

from rbgs.arrays.inputs import check_count, check_option, check_temperature
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.typing import Array, Temperature
from rbgs.conditional.quadrature import ConditionalExpectation
from rbgs.draw import FixedPoints, Operator
from rbgs.estimators.base import Estimator
from rbgs.structures.structure import Outcome, Structure, check_structure

_SAMPLING = ("lattice", "monte_carlo", "exact")


def limit_points(p: Array, relaxed: Array, winner: Array) -> FixedPoints:
    r"""Return :math:`2 J_1(\frac{1}{2}(q + D)) - \frac{1}{2} J_1(p)`, with a relaxed point q."""
    return FixedPoints(1.0, ((relaxed + winner) / 2, p), (2.0, -0.5))


@dataclass(frozen=True, eq=False, repr=False)
class GumbelRao(Estimator):
    r"""Gumbel-Rao: straight-through Gumbel-softmax, averaged over the Gumbels given the outcome.

    For logits :math:`\theta` ``(..., n)``, :math:`p = \operatorname{softmax}(\theta)` and iid
    Gumbels G the value is the one-hot :math:`D \sim \operatorname{Cat}(p)`, its derivative

    .. math::
        & E[J_\tau(\operatorname{softmax}((\theta + G) / \tau)) \mid D], \\
        & J_\tau(s) = (\operatorname{diag}(s) - s s^\top) / \tau

    (Paulus et al. 2021, eq. 7), or the average over K Gumbel vectors drawn given D (eq. 9 and 10).
    The loss is evaluated once, whatever K is. The mean of the gradient, and so its bias, is that of
    :class:`~rbgs.StraightThroughGumbelSoftmax`; the variance is lower.

    Parameters
    ----------
    temperature : float or array ``(...,)``
        :math:`\tau > 0`. Any kind of number is kept as a Python float; an array broadcasts against
        the batch. The number 0 is the limit :math:`\tau \to 0` in closed form,
        :math:`2 J_1(\frac{1}{2}(p + D)) - \frac{1}{2} J_1(p)`, which needs no samples.
    samples : int, optional
        The paper's K, at least 1: how many Gumbel vectors the derivative is averaged over. With
        more, the variance is lower and the gradient takes longer. By default 16, and 8 from 64
        categories on. There, compared with 8, 16 take 1.2 to 1.4 times as long for a variance that
        is 1 to 9 % lower; 4 take 0.7 to 0.9 times as long, but the variance is up to 25 % higher
        (``python -m benchmarks.measurements.defaults``). Without effect at temperature 0 and with
        ``sampling="exact"``.
    sampling : {"lattice", "monte_carlo", "exact"}
        ``"lattice"`` spreads the K points evenly, moved by one random shift a row.
        ``"monte_carlo"`` draws them independently, as the paper does.
        ``"exact"`` evaluates the conditional expectation by quadrature, for any number of
        categories: accurate to 1e-12 in double precision at temperatures up to 1, at the cost of
        some thousand samples.
    control_variate : bool, optional
        Whether the pairwise control variate is subtracted: the Jacobian of the winner with each
        rival alone. It is left out above temperature 2 in any case. By default it is used where it
        lowers the variance by more than it costs: with up to 16 categories, at temperatures up to
        0.5 with up to 128, and up to 0.3 with more.
    structure : Subset, SpanningTree, ..., optional
        What is drawn instead of one category. The average is then given the trace, the order in
        which a greedy algorithm takes the elements; there is no control variate, no ``"exact"``
        sampling and no limit of temperature 0.

    Raises
    ------
    ValueError
        The temperature is negative or not finite, ``samples`` is below 1, or an option unknown.
    TypeError
        The temperature is not a float or a floating array, or ``samples`` not an int.

    Notes
    -----
    Every scheme is unbiased for the conditional expectation, for every K (the control variate up
    to its quadrature: below 1e-9 in double and 1e-5 in single precision). The paper's scheme is
    ``GumbelRao(temperature, K, "monte_carlo", control_variate=False)``. For it, and B rows
    averaged, the variance is

    .. math:: \frac{E[\operatorname{var}(\nabla_{STGS} \mid D)]}{B K}
        + \frac{\operatorname{var}(\nabla_{GR})}{B}

    (eq. 13), never more than that of straight-through Gumbel-softmax (propositions 1 and 2). With
    the control variate the form of eq. 13 holds, with a smaller first term where it pays. With
    the lattice the first term is not proportional to 1/K: at K = 16 it is 2 to 100 times smaller
    than independent sampling's (``nox -s variance``). The second term is the same for all.
    Propositions 1 and 2 are proved for the paper's scheme alone.

    The Gumbels are constants for the derivative, although eq. 9 writes them as a function of the
    logits: the estimator is the conditional mean of a gradient that holds them fixed (eq. 7).
    Differentiating through eq. 9 as well would change the mean.

    With the same noise, the outcome is that of :class:`~rbgs.StraightThroughGumbelSoftmax`, and so
    is the first of the K points.

    References
    ----------
    - Paulus, Maddison, Krause (2021). Rao-Blackwellizing the straight-through Gumbel-softmax
      gradient estimator. ICLR. (Eq. 7, 9, 10 and 13, propositions 1 and 2.)
    - Shekhovtsov (2023). Cold analysis of Rao-Blackwellized straight-through Gumbel-softmax
      gradient estimator. ICML. (The limit.)
    - Sloan, Joe (1994). Lattice methods for multiple integration. Oxford University Press.

    Examples
    --------
    A sample, and the gradient of the loss :math:`(D - t)^2`, summed, for the logits:

    >>> import numpy as np, rbgs
    >>> logits = np.asarray([[0.5, 1.0, -0.5], [0.0, 0.0, 2.0]])
    >>> target = np.asarray([0.1, 0.2, 0.7])
    >>> draw = rbgs.GumbelRao(temperature=0.5).sample(logits, rng=3)
    >>> draw.value
    array([[1., 0., 0.],
           [0., 0., 1.]])
    >>> gradient = draw.vjp(2 * (draw.value - target))
    >>> gradient.shape
    (2, 3)

    In PyTorch the sample is a tensor, and ``backward`` finds that gradient:

    >>> import torch, rbgs.torch
    >>> value = rbgs.torch.sample(rbgs.GumbelRao(0.5), torch.zeros(2, 3, requires_grad=True))
    >>> ((value - torch.tensor(target)) ** 2).sum().backward()

    The expectation itself, for the outcome 0:

    >>> logits = np.asarray([0.3, -0.7])
    >>> exact = rbgs.GumbelRao(temperature=0.5, sampling="exact").sample(logits, index=0)
    >>> exact.jacobian().round(6)
    array([[ 0.15516, -0.15516],
           [-0.15516,  0.15516]])

    Where they do not matter, samples are neither shown nor compared:

    >>> rbgs.GumbelRao(0, samples=100)
    GumbelRao(temperature=0.0)

    With two categories the control variate leaves nothing to vary:

    >>> draw = rbgs.GumbelRao(temperature=0.5, samples=4).sample(logits, index=0, rng=0)
    >>> bool(np.allclose(draw.jacobian(), exact.jacobian()))
    True
    """

    temperature: Temperature
    samples: int | None = None
    sampling: Literal["lattice", "monte_carlo", "exact"] = "lattice"
    control_variate: bool | None = None
    structure: Structure | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", check_temperature(self.temperature, zero=True))
        if self.samples is not None:
            object.__setattr__(self, "samples", check_count("samples", self.samples))
        check_option("sampling", self.sampling, _SAMPLING)
        check_option("control_variate", self.control_variate, (None, True, False))
        check_structure("structure", self.structure)
        if self.structure is not None:
            self._check_options_of_structure()

    def _check_options_of_structure(self) -> None:
        for what, is_given in (
            ("temperature=0, the limit in closed form,", self._is_limit),
            ('sampling="exact"', self.sampling == "exact"),
            ("control_variate=True", self.control_variate is True),
        ):
            if is_given:
                raise ValueError(
                    f"{what} is known for a categorical variable alone, not for "
                    f"{self.structure}: take a positive temperature and the other options"
                )

    def _hyperparameters(self) -> dict[str, Any]:
        known = super()._hyperparameters()
        if self._is_limit:
            return {"temperature": known["temperature"]}
        if self.sampling == "exact":
            return {name: known[name] for name in ("temperature", "sampling")}
        return known

    @property
    def _is_limit(self) -> bool:
        return isinstance(self.temperature, float) and self.temperature == 0

    @property
    def _random_given_outcome(self) -> bool:
        return self.sampling != "exact" and not self._is_limit

    @property
    def _generator_words(self) -> int:
        independent = self.sampling == "monte_carlo" and not self._is_limit
        return 2 if independent and self.samples != 1 else 0

    def _operator(self, outcome: Outcome) -> Operator:
        log_probs = outcome.rows.log_probs
        if self._is_limit:
            p = array_namespace(log_probs).exp(log_probs)
            return limit_points(p, p, outcome.winner)
        if self.sampling == "exact":
            return ConditionalExpectation(outcome.temperature, log_probs, outcome.index)
        return self._structure.samples(outcome, self.samples, self.control_variate)
