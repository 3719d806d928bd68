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

    deterministic_eval = False  # of a layer pickled before there was the choice

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
        """The temperature of the estimator, a float; assign to it to change it.

        Examples
        --------
        >>> import rbgs, rbgs.torch
        >>> layer = rbgs.torch.Sampler(rbgs.GumbelRao(1.0))
        >>> for epoch in range(3):
        ...     layer.temperature = max(0.1, 0.5 * layer.temperature)
        >>> layer.temperature
        0.125
        """
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

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "temperature":  # also where Module would register it, a Parameter
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @instead_of(rng="generator", key="generator", seed="generator")
    def forward(
        self,
        logits: Tensor,
        *,
        generator: Generator = None,
        noise: Tensor | None = None,
        index: Tensor | int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""Return :func:`sample` of the estimator; ``deterministic_eval`` needs no randomness.

        The value is :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))`, with the
        derivative that the estimator gives it (Paulus et al. 2021, eq. 4 to 10).

        Parameters
        ----------
        logits : floating tensor ``(..., n)``
            Unnormalised log-probabilities.
        generator : torch.Generator, optional
            As in :func:`sample`: by default PyTorch's own.
        noise : floating tensor ``(..., n)``, optional
            Uniforms from :meth:`rbgs.Estimator.noise` instead of a generator.
        index : int tensor ``(...,)`` or int, optional
            Condition on this outcome instead of drawing one.
        mask : bool tensor ``(..., n)``, optional
            True where a category is allowed; broadcasts against the logits.

        Returns
        -------
        Tensor ``(..., n)``
            The value, of the shape, dtype and device of the logits.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As in :func:`sample`.

        Examples
        --------
        >>> import rbgs, rbgs.torch, torch
        >>> layer = rbgs.torch.Sampler(rbgs.GumbelRao(0.5), deterministic_eval=True)
        >>> layer.eval()(torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
        """
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
        """Return what ``repr`` shows.

        Returns
        -------
        str
            The estimator, the axis and whether ``deterministic_eval`` is set.

        Examples
        --------
        >>> import rbgs, rbgs.torch
        >>> rbgs.torch.Sampler(rbgs.StraightThrough())
        Sampler(StraightThrough(temperature=1.0), dim=-1)
        """
        deterministic = ", deterministic_eval=True" * self.deterministic_eval
        return f"{self.estimator}, dim={self.dim}{deterministic}"

    def get_extra_state(self) -> Tensor:
        """Return the temperature, which ``state_dict`` holds beside parameters and buffers.

        Returns
        -------
        Tensor ``()``
            The temperature, in float64.

        Examples
        --------
        >>> import rbgs, rbgs.torch
        >>> rbgs.torch.Sampler(rbgs.GumbelRao(0.5)).get_extra_state()
        tensor(0.5000, dtype=torch.float64)
        """
        return torch.tensor(self.temperature, dtype=torch.float64)

    def set_extra_state(self, state: Tensor | dict[str, float]) -> None:
        """Take the temperature of a ``state_dict``; an old one has a dictionary for it.

        Parameters
        ----------
        state : Tensor ``()`` or dict
            The temperature.

        Raises
        ------
        ValueError
            It is not one that the estimator takes.

        Examples
        --------
        >>> import rbgs, rbgs.torch
        >>> layer, other = (rbgs.torch.Sampler(rbgs.GumbelRao(x)) for x in (0.5, 1.0))
        >>> _ = other.load_state_dict(layer.state_dict())
        >>> other.temperature
        0.5
        """
        self.temperature = state["temperature"] if isinstance(state, dict) else float(state)

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        # A checkpoint from before the layer was there leaves the temperature as it is.
        state = {prefix + _EXTRA_STATE_KEY_SUFFIX: self.get_extra_state(), **state}
        super()._load_from_state_dict(state, prefix, *rest)
