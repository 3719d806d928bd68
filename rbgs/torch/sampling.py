"""Samples as tensors: `sample`, and the drop-in for `gumbel_softmax`."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rbgs.arrays.inputs import check_logits, wide_dtype
from rbgs.arrays.keywords import instead_of
from rbgs.arrays.typing import Generator
from rbgs.doors import at_temperature, check_kind, check_pathwise, settled, temperature_array
from rbgs.estimators.base import Estimator
from rbgs.estimators.gumbel_rao import GumbelRao
from rbgs.estimators.relaxation import GumbelSoftmax
from rbgs.random.noise import uniform_of_torch
from rbgs.random.source import check_source
from rbgs.torch.function import CompiledSample, Sample, TransformedSample, refuse_derivative
from rbgs.torch.modes import is_transformed, refuse_kinds, refuse_transformations

INSTEAD = "rbgs.torch.expectation(estimator, loss, logits)"


@instead_of(axis="dim", rng="generator", key="generator", seed="generator")
def sample(
    estimator: Estimator,
    logits: Tensor,
    *,
    generator: Generator = None,
    noise: Tensor | None = None,
    index: Tensor | int | None = None,
    mask: Tensor | None = None,
    dim: int = -1,
) -> Tensor:
    r"""Draw a sample as a tensor whose derivative is the one the estimator gives it.

    The value is the :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))` of
    :meth:`rbgs.Estimator.sample`, and :math:`\partial D / \partial \theta` is set to the operator A
    of its draw (Paulus et al. 2021, eq. 4 to 10): :meth:`rbgs.Draw.vjp` in the backward pass,
    :meth:`rbgs.Draw.jvp` in forward mode.

    It works with ``torch.func.grad``, ``vjp``, ``jvp``, ``linearize``, ``vmap``, ``jacrev`` and
    ``jacfwd``, in ``torch.compile(fullgraph=True)``, under autocast (computed in float32), and
    where the operations themselves are traced or recorded, as by ``torch.jit.trace``.

    Parameters
    ----------
    estimator : Estimator
        Any whose draws have a derivative; the others, such as :class:`~rbgs.Reinforce`, need the
        loss: see :func:`expectation`. Its temperature may be a tensor that broadcasts against the
        batch. There is no derivative for it, nor for the noise.
    logits : floating tensor ``(..., n)``
        Unnormalised log-probabilities on any device, contiguous or not.
    generator : torch.Generator, optional
        On the device of the logits. By default PyTorch's own, which ``torch.manual_seed`` seeds.
        A :class:`~rbgs.Key`, a NumPy generator and an int seed are taken as well.
    noise : floating tensor ``(..., n)``, optional
        Uniforms from :meth:`rbgs.Estimator.noise` instead of a generator.
    index : int tensor ``(...,)`` or int, optional
        Condition on this outcome instead of drawing one.
    mask : bool tensor ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.
    dim : int
        The category axis.

    Returns
    -------
    Tensor ``(..., n)``
        The value, of the shape, dtype and device of the logits, contiguous in memory.

    Raises
    ------
    TypeError
        The logits are no tensor or of a dtype that is not real floating, a tensor is sparse or
        distributed, or the estimator uses values of the loss.
    ValueError
        Shapes or devices do not match, or a derivative for the temperature or the noise is asked
        for.
    NotImplementedError
        In the backward pass: a second derivative for the logits is asked for. The one for what the
        first is linear in, the gradient of the loss at the value, is there. At once: under
        ``torch.func.functionalize``, or where ``torch.compile(fullgraph=True)`` meets a
        transformation of ``torch.func``.

    Notes
    -----
    Until the backward pass are kept up to 8 bytes a category (16 in double precision) and 24 bytes
    a row, for any number of samples. The logits, the noise and the value may be overwritten before.

    ``torch.utils.checkpoint`` calls the function a second time in the backward pass. Leave
    ``generator`` out there, or pass a :class:`~rbgs.Key` or an int seed: they draw the same sample
    again. A ``torch.Generator`` does not, since the first call has advanced it: the gradient would
    be that of another sample.

    Under ``torch.vmap`` the random numbers of ``generator=None`` follow its ``randomness`` flag.

    Under ``torch.compile`` sizes and a float temperature may change from call to call. There are
    further programs only where the mathematics differs: at temperatures up to 0.3, 0.5, 1, 2 and
    above. A temperature that is a tensor has one program for all values. The length of a program
    depends neither on the batch nor, above 128, on the number of samples. As for
    every function with a derivative of its own, what ``torch.export`` returns computes the value
    alone, without the derivative, and what ``torch.jit.trace`` returns cannot be saved.

    Examples
    --------
    A sample is one-hot, and a loss of it has a gradient for the logits:

    >>> import rbgs, rbgs.torch, torch
    >>> logits = torch.zeros(2, 3, requires_grad=True)
    >>> generator = torch.Generator().manual_seed(0)
    >>> value = rbgs.torch.sample(rbgs.GumbelRao(0.5), logits, generator=generator)
    >>> value.detach()
    tensor([[0., 0., 1.],
            [0., 1., 0.]])
    >>> (value * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    >>> bool(logits.grad.abs().sum() > 0)
    True
    """
    check_pathwise(estimator, INSTEAD)
    check_tensor(logits)
    estimator = settled(estimator, logits)
    temperature = temperature_array(estimator)
    refuse_kinds(logits=logits, noise=noise, index=index, mask=mask, temperature=temperature)
    dim = check_logits(logits, dim)
    for name, x in (("noise", noise), ("temperature", temperature)):
        if isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled():
            refuse_derivative(name)
    is_drawn = noise is None and estimator._needs_noise(index)
    if is_drawn:
        if generator is None:
            shape, dtype = estimator._noise_shape(logits.shape, dim), wide_dtype(logits)
            noise = uniform_of_torch(None, shape, dtype, logits.device)
        else:
            logits_ = logits.detach()
            generator = check_source("generator", generator, logits_)
            noise = estimator.noise(logits_, generator, axis=dim)
    elif generator is not None and noise is not None:
        raise ValueError("both generator and noise are given: pass one of them")
    refuse_transformations(logits)
    function: type[Function] = TransformedSample if is_transformed() else Sample
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        function = CompiledSample
    static = estimator if temperature is None else at_temperature(estimator, 1.0)
    operands = (logits, noise, index, mask, temperature)
    value: Tensor = function.apply(static, dim, is_drawn, *operands)[0]
    return value


def check_tensor(logits: Any) -> None:
    """Raise unless the logits are a tensor."""
    convert, make = "torch.from_dlpack(logits)", "torch.tensor(logits)"
    check_kind(logits, Tensor, "rbgs.torch", convert, make)


@instead_of(
    axis="dim",
    rng="generator",
    key="generator",
    seed="generator",
    temperature="tau",
    num_samples="samples",
)
def gumbel_softmax(
    logits: Tensor,
    tau: float | Tensor = 1,
    hard: bool = False,
    eps: float = 1e-10,  # noqa: ARG001
    dim: int = -1,
    *,
    samples: int | None = None,
    generator: Generator = None,
    mask: Tensor | None = None,
) -> Tensor:
    r"""Replace ``torch.nn.functional.gumbel_softmax``: same arguments, less variance.

    With ``hard=True`` it draws from :class:`~rbgs.GumbelRao`: the value is exactly one-hot,
    :math:`D \sim \operatorname{Cat}(\operatorname{softmax}(\theta))`, and the gradient has the mean
    of PyTorch's and a lower variance (Paulus et al. 2021, eq. 10). With ``hard=False`` it is the
    relaxed sample :math:`\operatorname{softmax}((\theta + G) / \tau)` of
    :class:`~rbgs.GumbelSoftmax`, with iid Gumbels G.

    Parameters
    ----------
    logits : floating tensor ``(..., n)``
        Unnormalised log-probabilities.
    tau : float or tensor ``(...,)``
        The temperature, above 0. A tensor has one for each row: either the axes of the logits with
        size 1 along ``dim``, as in PyTorch, or it broadcasts against the batch. So one with a
        single axis runs along the last axis of the batch, where PyTorch's runs along the last axis
        of the logits.
    hard : bool
        Whether the value is discrete.
    eps : float
        Without effect, as in PyTorch.
    dim : int
        The category axis.
    samples : int, optional
        How many Gumbel vectors the gradient of ``hard=True`` averages over; by default as many as
        :class:`~rbgs.GumbelRao` takes.
    generator : torch.Generator, optional
        On the device of the logits; by default PyTorch's own.
    mask : bool tensor ``(..., n)``, optional
        True where a category is allowed; broadcasts against the logits.

    Returns
    -------
    Tensor ``(..., n)``
        The sample, of the shape, dtype and device of the logits.

    Raises
    ------
    TypeError, ValueError
        As in :func:`sample`, or ``tau`` is not positive and finite.

    Examples
    --------
    >>> import torch
    >>> from rbgs.torch import gumbel_softmax
    >>> logits = torch.zeros(4, 3, requires_grad=True)
    >>> gumbel_softmax(logits, tau=0.5, hard=True).sum(dim=-1).detach()
    tensor([1., 1., 1., 1.])
    """
    if isinstance(tau, Tensor) and isinstance(logits, Tensor) and tau.ndim == logits.ndim > 0:
        axis = check_logits(logits, dim)
        tau = tau.squeeze(axis) if tau.shape[axis] == 1 else tau
    estimator = GumbelRao(tau, samples) if hard else GumbelSoftmax(tau)
    return sample(estimator, logits, generator=generator, mask=mask, dim=dim)
