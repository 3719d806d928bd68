r"""Spanning trees of a graph.

The relaxation is the vector of marginals of the Gibbs law over trees, :math:`p(B) \propto
\prod_{e \in B} w_e` with :math:`w = e^{U / \tau}`, which Kirchhoff's theorem gives: they are the
diagonal of the transfer-current matrix, :math:`M = W^{1/2} \nabla L^{-1} \nabla^\top W^{1/2}` in
symmetric form, with L the Laplacian and :math:`\nabla` the differences along edges. Their
covariance, the derivative, is :math:`\operatorname{diag} \mu - M \circ M`.

At a low temperature w spans hundreds of decades, and L cannot be inverted. So the differences along
the edges of the best tree are the unknowns, each in the unit of its own edge. An edge f outside the
tree closes a path of tree edges, C being the signs along it, and no edge of the path is worse than
f:

.. math::

    A_{fb} = C_{fb} \sqrt{w_f / w_b} \in [-1, 1], \quad G = (1 + A^\top A)^{-1}, \quad
    M = \begin{pmatrix} G & G A^\top \\ A G & A G A^\top \end{pmatrix}.

Nothing overflows, G is well conditioned, and with :math:`H = A^\top A\, G = 1 - G` no difference of
nearly equal numbers is left: with :math:`S = A^\top \operatorname{diag}(v_f) A` and
:math:`V = \operatorname{diag}(v_b)` the derivative is, in and outside the tree,

.. math::

    (J v)_b = H_{bb} v_b - (H V H)_{bb} - (G S G)_{bb}, \qquad
    (J v)_f = (A G A^\top)_{ff} v_f - (A G (V + S) G A^\top)_{ff}.
"""

import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np

from rbgs.arrays.devices import device
from rbgs.arrays.inputs import detached
from rbgs.arrays.matrices import inverse, matmul
from rbgs.arrays.namespaces import array_namespace
from rbgs.arrays.ordering import picked
from rbgs.arrays.scalars import is_array
from rbgs.arrays.simplex import clamp
from rbgs.arrays.typing import Array
from rbgs.structures.matroid import Matroid, State
from rbgs.structures.trace import Trace


@dataclass(frozen=True, init=False, repr=False)
class SpanningTree(Matroid):
    r"""A spanning tree of a connected graph: that of the largest sum of perturbed logits.

    The elements are the edges: for logits ``(..., m)`` of m edges the value, of their shape, is 0/1
    with a one for each edge of the tree. Kruskal's
    algorithm takes the edges as they arrive, unless their ends are connected already. A mask, or
    a logit of -inf, takes an edge away; a row whose other edges do not connect the graph cannot be
    answered.

    Parameters
    ----------
    edges : int array ``(m, 2)``
        The two ends of each edge: vertices are numbered from 0, and each of them has an edge. There
        may be several edges between the same two. Pairs in a list or any other iterable will do; an
        ``edge_index`` of shape (2, m) is to be transposed.

    Attributes
    ----------
    vertices : int
        How many vertices the graph has.

    Raises
    ------
    ValueError
        The shape is another one, an edge ends where it begins, or the graph is not connected: the
        message names its components.
    TypeError
        The edges are not integers.

    Notes
    -----
    The relaxation is the vector of marginals of :math:`p(B) \propto e^{\sum_{e \in B} U_e / \tau}`
    over spanning trees, at the perturbed logits U, by Kirchhoff's theorem. A point takes products
    of :math:`m \times (N - 1)` matrices for N vertices, and the inverse of one of N - 1. It is
    accurate to rounding at any temperature.

    References
    ----------
    Paulus, Choi, Tarlow, Krause, Maddison (2020). Gradient estimation with stochastic softmax
    tricks. NeurIPS.

    Examples
    --------
    >>> import numpy as np, rbgs
    >>> square = rbgs.SpanningTree([(0, 1), (1, 2), (2, 3), (3, 0)])
    >>> draw = rbgs.GumbelRao(0.5, structure=square).sample(np.asarray([1.0, 2.0, 0.0, 1.0]), rng=0)
    >>> draw.value
    array([0., 1., 1., 1.])
    """

    edges: tuple[tuple[int, int], ...]
    _ends: ClassVar[np.ndarray[Any, Any]]
    _incidence: ClassVar[np.ndarray[Any, Any]]

    def __init__(self, edges: Any) -> None:
        object.__setattr__(self, "edges", _checked(edges))
        ends, vertices = np.asarray(self.edges), np.arange(self.vertices - 1)
        # They follow from the edges. The last vertex is at 0.
        incidence = np.equal(ends[:, :1], vertices) * 1.0 - np.equal(ends[:, 1:], vertices)
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "_incidence", incidence)

    def __repr__(self) -> str:
        if len(self.edges) <= 8:
            return f"SpanningTree({list(self.edges)})"
        return f"SpanningTree({len(self.edges)} edges of {self.vertices} vertices)"

    @property
    def vertices(self) -> int:
        """The number of vertices."""
        return 1 + max(itertools.chain.from_iterable(self.edges))

    def check(self, n: int) -> None:
        """Raise unless there is a logit for each edge."""
        if n != len(self.edges):
            raise ValueError(
                f"{self} has {len(self.edges)} edges, but the logits have {n} elements"
            )

    def rank(self, n: int) -> int:
        """Return the number of edges of a tree."""
        return self.vertices - 1

    def count(self, n: int) -> int:
        """Return the number of spanning trees."""
        log_count = np.linalg.slogdet(self._incidence.T @ self._incidence)[1]
        return round(Decimal(float(log_count)).exp())  # it may be beyond all floats

    def size(self, n: int) -> int:
        """Return how many numbers `product` needs for a point."""
        return n * self.vertices

    def start(self, like: Array) -> State:
        """Return the components of the vertices ``(N, rows)``, by a number."""
        xp = array_namespace(like)
        numbers = xp.arange(self.vertices, device=device(like))
        return (numbers[:, None] + xp.astype(xp.zeros_like(like[:1, :]), numbers.dtype),)

    def active(self, state: State) -> Array:
        """Return which edges lead from one component to another."""
        first, second = self._components_of_ends(*state)
        return first != second

    def take(self, state: State, element: Array) -> State:
        """Return the state after two components were joined."""
        (component,) = state
        of_ends = self._components_of_ends(component)
        kept, joined = (picked(of_end, element[None, :]) for of_end in of_ends)
        return (array_namespace(component).where(component == joined, kept, component),)

    def _components_of_ends(self, component: Array) -> tuple[Array, Array]:
        xp, here = array_namespace(component), device(component)
        ends = xp.asarray(self._ends, dtype=component.dtype, device=here)
        return xp.take(component, ends[:, 0], axis=0), xp.take(component, ends[:, 1], axis=0)

    def point(self, utilities: Array, trace: Trace) -> Array:
        """Return the marginals."""
        xp, taken = array_namespace(utilities), trace.taken[:, None, :]
        paths, of_paths, inverted = self._inverse(utilities, trace)
        outside = xp.sum(matmul(paths, inverted) * paths, axis=-1)
        inside = 1 - xp.linalg.diagonal(matmul(of_paths, inverted))
        return xp.where(taken, self._at_edges(inside, trace), xp.moveaxis(outside, -1, 0))

    def product(self, utilities: Array, trace: Trace, vector: Array) -> Array:
        """Return the derivative of `point` times a vector."""
        xp, taken = array_namespace(utilities), trace.taken[:, None, :]
        # The derivative does not see what all edges have in common; a forbidden one has no say.
        of_tree = picked(vector, trace.order[:, None, :])
        mean = xp.mean(of_tree, axis=0)
        paths, of_paths, inverted = self._inverse(utilities, trace)
        missing = matmul(of_paths, inverted)
        of_tree = xp.moveaxis(of_tree - mean, 0, -1)[..., None, :]
        of_others = xp.moveaxis(xp.where(taken, 0.0, vector - mean), 0, -1)
        weighted = matmul(xp.matrix_transpose(paths), of_others[..., None] * paths)
        spread = matmul(inverted, matmul(weighted, inverted))
        both = spread + matmul(inverted * of_tree, inverted)

        lost = missing * of_tree
        inside = xp.linalg.diagonal(lost - matmul(lost, missing) - spread)
        middle = of_others[..., None] * matmul(paths, inverted) - matmul(paths, both)
        outside = xp.sum(middle * paths, axis=-1)
        return xp.where(taken, self._at_edges(inside, trace), xp.moveaxis(outside, -1, 0))

    def _inverse(self, utilities: Array, trace: Trace) -> tuple[Array, Array, Array]:
        r"""Return A, :math:`A^\top A` and G, matrices ``(count, rows, ..)``."""
        xp, here = array_namespace(utilities), device(utilities)
        of_edges = xp.permute_dims(utilities, (1, 2, 0))
        of_tree = xp.permute_dims(picked(utilities, trace.order[:, None, :]), (1, 2, 0))
        # On its path no edge of the tree is worse: elsewhere the difference does not count.
        roots = xp.exp(clamp(of_edges[..., None] - of_tree[..., None, :], high=0.0) / 2)
        # Rows that are not valid have no tree.
        paths = xp.where(xp.isnan(roots), 0.0, roots) * self._signs(trace, utilities.dtype)
        of_paths = matmul(xp.matrix_transpose(paths), paths)
        identity = xp.eye(of_paths.shape[-1], dtype=utilities.dtype, device=here)
        return paths, of_paths, inverse(identity + of_paths)

    def _signs(self, trace: Trace, dtype: Any) -> Array:
        """Return C, the signs along the paths that edges close, ``(rows, m, r)``.

        0 for the edges of the tree.
        """
        xp, here = array_namespace(trace.order), device(trace.order)
        rows = xp.zeros_like(trace.order[:1, :])  # JAX spreads what is made of it likewise
        ends = xp.asarray(self._ends, dtype=trace.order.dtype, device=here)
        first, second = (
            xp.matrix_transpose(picked(ends[:, i, None] + rows, trace.order))[..., None]
            for i in range(2)
        )
        vertices = xp.arange(self.vertices - 1, dtype=ends.dtype, device=here)
        of_tree = xp.astype(first == vertices, dtype) - xp.astype(second == vertices, dtype)
        incidence = xp.asarray(self._incidence, dtype=dtype, device=here)
        signs = xp.round(matmul(incidence, inverse(of_tree)))
        return xp.where(xp.matrix_transpose(trace.taken)[..., None], 0.0, signs)

    def _at_edges(self, x: Array, trace: Trace) -> Array:
        """Return numbers ``(count, rows, r)`` of the tree's edges at the places of these."""
        xp = array_namespace(x)
        return picked(xp.moveaxis(x, -1, 0), trace.step[:, None, :])


def _checked(edges: Any) -> tuple[tuple[int, int], ...]:
    """Return edges as tuples; raise unless they make a connected graph."""
    if not is_array(edges):
        try:
            edges = [tuple(edge) for edge in edges]
        except TypeError:
            raise TypeError("edges are pairs of vertices, such as [(0, 1), (1, 2)]") from None
        if any(len(edge) != 2 for edge in edges):
            raise ValueError("each edge has two ends, so edges are pairs of vertices")
    array = np.asarray(detached(edges))
    if not array.size:
        raise ValueError("there are no edges, so there is no spanning tree")
    if array.dtype.kind not in "iu":
        raise TypeError(f"edges have dtype {array.dtype}; integers are wanted, numbers of vertices")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"edges have shape {array.shape}; (m, 2) is wanted: two ends of each edge")
    if array.min() < 0:
        raise ValueError(f"edges name the vertex {array.min()}, but vertices are numbered from 0")
    loops = array[array[:, 0] == array[:, 1]]
    if len(loops):
        raise ValueError(f"an edge leads from vertex {loops[0, 0]} to itself: leave it out")
    named = set(array.ravel().tolist())
    if array.max() >= len(named):
        absent = next(v for v in itertools.count() if v not in named)
        raise ValueError(
            f"the vertex {absent} has no edge, but {array.max()} has: vertices are numbered from 0 "
            "without gaps, and each has an edge in a graph with a spanning tree"
        )
    component = list(range(len(named)))
    for first, second in array.tolist():
        kept, joined = component[first], component[second]
        component = [kept if c == joined else c for c in component]
    parts = [[v for v, c in enumerate(component) if c == part] for part in dict.fromkeys(component)]
    if len(parts) > 1:
        shown = ", ".join(map(_named, parts[:6])) + (", ..." if len(parts) > 6 else "")
        raise ValueError(
            f"the graph is not connected, so it has no spanning tree: its {len(parts)} components "
            f"are {shown}. Add edges between the parts"
        )
    return tuple((int(a), int(b)) for a, b in array.tolist())


def _named(vertices: list[int]) -> str:
    return "{" + ", ".join(map(str, vertices[:8])) + (", ..." if len(vertices) > 8 else "") + "}"
