"""A layer that draws samples."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import _EXTRA_STATE_KEY_SUFFIX

from rbgs.arrays.inputs import check_logits, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.typing import Generator
from rbgs.doors import check_pathwise
from rbgs.estimators.base import Estimator
from rbgs.torch.sampling import INSTEAD, check_tensor, sample


class Sampler(torch.nn.Module):
    r"""A layer that draws samples, with a temperature that can be scheduled.

    Parameters
    ----------
    estimator : Estimator
        Any that :func:`sample` takes, with a float temperature.
    dim : int
        The category axis.
    deterministic_eval : bool
        Whether the layer, once ``eval()`` was called on it or on the model around it, returns the
        value of equal Gumbels, without a gradient and without drawing a random number: the most
        probable category or subset, for a :class:`~rbgs.SpanningTree` the one of greatest weight.
        That of :class:`~rbgs.GumbelSoftmax` is relaxed, as in training:
        :math:`\operatorname{softmax}(\theta / \tau)`.

    Raises
    ------
    TypeError
        The temperature is a tensor: call :func:`sample` for that. Or the estimator is none, or one
        that uses values of the loss, or ``deterministic_eval`` is no bool.

    Notes
    -----
    The temperature is part of ``state_dict``, as a tensor; a checkpoint without it leaves it as it
    is; ``deterministic_eval`` is no part of it. Under ``torch.compile`` the temperature may change:
    see :func:`sample`. Categories that rounding cannot tell apart are as probable as each other:
    the first of them is taken.

    Examples
    --------
    >>> import rbgs, rbgs.torch, torch
    >>> layer = rbgs.torch.Sampler(rbgs.GumbelRao(1.0), deterministic_eval=True)
    >>> layer.temperature = 0.5
    >>> layer(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    >>> layer.estimator
    GumbelRao(temperature=0.5, samples=None, sampling='lattice', control_variate=None)
    >>> layer.eval()(torch.tensor([0.1, 0.3, 0.2]))
    tensor([0., 1., 0.])
    """

    @instead_of(axis="dim")
    def __init__(
        self, estimator: Estimator, *, dim: int = -1, deterministic_eval: bool = False
    ) -> None:
        super().__init__()
        check_pathwise(estimator, INSTEAD)
        self.estimator: Any = estimator
        self.dim = dim
        if not isinstance(deterministic_eval, bool):
            raise TypeError(
                f"deterministic_eval is {deterministic_eval!r}; True or False is wanted"
            )
        self.deterministic_eval = deterministic_eval
        self.temperature = self.temperature  # check it

    @property
    def temperature(self) -> float:
        """The temperature of the estimator, a float; assign to it to change it."""
        temperature: float = self.estimator.temperature
        return temperature

    @temperature.setter
    def temperature(self, temperature: float | Tensor) -> None:
        if isinstance(temperature, Tensor):
            raise TypeError(
                "the temperature of a Sampler is a float, part of its state: pass "
                "float(temperature), or call rbgs.torch.sample with a tensor"
            )
        self.estimator = replace(self.estimator, temperature=temperature)

    @instead_of(rng="generator", key="generator")
    def forward(
        self,
        logits: Tensor,
        *,
        generator: Generator = None,
        noise: Tensor | None = None,
        index: Tensor | int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return :func:`sample` of the estimator; ``deterministic_eval`` needs no randomness."""
        if self.deterministic_eval and not self.training:
            check_tensor(logits)
            generator, noise, logits = None, self._equal_noise(logits), logits.detach()
        return sample(
            self.estimator,
            logits,
            generator=generator,
            noise=noise,
            index=index,
            mask=mask,
            dim=self.dim,
        )

    def _equal_noise(self, logits: Tensor) -> Tensor:
        """Return noise that prefers no category."""
        shape = self.estimator._noise_shape(logits.shape, check_logits(logits, self.dim))
        return torch.full(shape, 0.5, dtype=wide_dtype(logits), device=logits.device)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        deterministic = ", deterministic_eval=True" * self.deterministic_eval
        return f"{self.estimator}, dim={self.dim}{deterministic}"

    def get_extra_state(self) -> Tensor:
        """Return the temperature, which ``state_dict`` holds beside parameters and buffers."""
        return torch.tensor(self.temperature, dtype=torch.float64)

    def set_extra_state(self, state: Tensor | dict[str, float]) -> None:
        """Take the temperature of a ``state_dict``; an old one has a dictionary for it."""
        self.temperature = state["temperature"] if isinstance(state, dict) else float(state)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        # A checkpoint from before the layer was there leaves the temperature as it is.
        state = {prefix + _EXTRA_STATE_KEY_SUFFIX: self.get_extra_state(), **state}
        super()._load_from_state_dict(state, prefix, *rest)
