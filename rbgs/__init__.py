"""Rao-Blackwellised straight-through gradients on the Python array API standard."""

from importlib import import_module
from types import ModuleType

from rbgs.arrays.engine import is_compiled, set_compiled
from rbgs.arrays.loops import get_num_threads, set_num_threads
from rbgs.draw import Draw
from rbgs.estimators.base import Estimator
from rbgs.estimators.disarm import DisARM
from rbgs.estimators.gapped import GappedStraightThrough
from rbgs.estimators.gumbel_rao import GumbelRao
from rbgs.estimators.indecater import IndeCateR
from rbgs.estimators.muprop import MuProp
from rbgs.estimators.rebar import Rebar, Relax
from rbgs.estimators.reinforce import Reinforce
from rbgs.estimators.reinmax import ReinMax, ReinMaxRao
from rbgs.estimators.relaxation import GumbelSoftmax
from rbgs.estimators.running import RunningCoefficient, RunningDeviation, RunningMean
from rbgs.estimators.straight_through import StraightThrough, StraightThroughGumbelSoftmax
from rbgs.estimators.systematic import Systematic
from rbgs.estimators.vimco import Vimco
from rbgs.evaluation.compare import compare
from rbgs.evaluation.comparison import Comparison, Moments
from rbgs.evaluation.exact import exact_gradient
from rbgs.evaluation.tune import Tuning, tune
from rbgs.random.key import Key
from rbgs.structures.spanning_tree import SpanningTree
from rbgs.structures.subset import Subset

__all__ = [
    "Comparison",
    "DisARM",
    "Draw",
    "Estimator",
    "GappedStraightThrough",
    "GumbelRao",
    "GumbelSoftmax",
    "IndeCateR",
    "Key",
    "Moments",
    "MuProp",
    "Rebar",
    "ReinMax",
    "ReinMaxRao",
    "Reinforce",
    "Relax",
    "RunningCoefficient",
    "RunningDeviation",
    "RunningMean",
    "SpanningTree",
    "StraightThrough",
    "StraightThroughGumbelSoftmax",
    "Subset",
    "Systematic",
    "Tuning",
    "Vimco",
    "compare",
    "exact_gradient",
    "get_num_threads",
    "is_compiled",
    "set_compiled",
    "set_num_threads",
    "tune",
]


def __getattr__(name: str) -> ModuleType:
    # A door, with its framework, when it is used.
    if name in ("autograd", "dask", "distrax", "jax", "numpyro", "pyro", "torch"):
        return import_module(f"rbgs.{name}")
    raise AttributeError(f"module 'rbgs' has no attribute {name!r}")


__version__ = "0.1.0"
