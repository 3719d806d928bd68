"""What a race of exponentials showed, and the arrival times of elements given it."""

from dataclasses import dataclass

from rbgs.arrays.devices import device
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import cumulative_log_sum_exp, log_add_exp, picked
from rbgs.arrays.typing import Array


@dataclass(frozen=True)
class Trace:
    """The order of takings, and when each element was out of the race.

    Attributes
    ----------
    order : integer array ``(r, rows)``
        The elements that were taken, in their order.
    step : int32 array ``(n, rows)``
        The step, from 0, at which an element was taken or became spanned.
    """

    order: Array
    step: Array

    @property
    def taken(self) -> Array:
        """Which elements were taken, bool ``(n, rows)``."""
        xp = array_namespace(self.order)
        numbers = xp.arange(self.step.shape[0], dtype=self.order.dtype, device=device(self.order))
        return picked(self.order, self.step) == numbers[:, None]


def log_times(
    trace: Trace, log_probs: Array, log_totals: Array, exponentials: Array
) -> tuple[Array, Array]:
    r"""Return the logarithms of the arrival times given the trace, in units of the last taking.

    Parameters
    ----------
    trace : Trace
        The trace.
    log_probs, log_totals : arrays ``(n, rows)`` and ``(r, rows)``
        :math:`\log \lambda` and :math:`\log \Lambda`.
    exponentials : array ``(n, count, rows)``
        iid standard exponentials, those of the elements taken above 0.

    Returns
    -------
    arrays ``(n, count, rows)`` and ``(count, rows)``
        :math:`\log T \Lambda_r`, inf for a forbidden element, and that of the last taking.
    """
    xp = array_namespace(exponentials)
    log_exponentials = xp.log(exponentials)
    # Their rates first: far logits have no digits left for an exponential.
    slowest = log_totals[-1:, :]
    of_gaps, of_others = log_totals - slowest, log_probs - slowest
    gaps = picked(log_exponentials, trace.order[:, None, :]) - of_gaps[:, None, :]
    arrivals = cumulative_log_sum_exp(gaps)
    reached = picked(arrivals, trace.step[:, None, :])
    later = log_add_exp(reached, log_exponentials - of_others[:, None, :])
    return xp.where(trace.taken[:, None, :], reached, later), arrivals[-1, ...]
