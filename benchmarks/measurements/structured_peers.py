"""What structured outcomes are measured against: samplers as a user of PyTorch writes them.

Each is one call, forward and backward. Values are discrete; in the derivative a relaxation stands
for them.
"""

from typing import Any

import numpy as np

from benchmarks.measurements.peers import Call

_LEAST = 1.2e-38  # the smallest normal number in single precision
_LEAST_UTILITY = -25.0  # of an edge, the largest being 0: below it the Laplacian becomes singular


def gumbels_like(x: Any) -> Any:
    """Return standard Gumbel noise."""
    import torch

    return -torch.empty_like(x).exponential_().log()


def relaxed_top_k(perturbed: Any, k: int, temperature: float) -> Any:
    """Return the sum of k successive softmaxes, each without what those before it took.

    Plötz & Roth 2018 (*Neural nearest neighbors networks*); with Gumbel noise Xie & Ermon 2019
    (*Reparameterizable subset sampling via continuous relaxations*).
    """
    import torch

    total = chosen = torch.zeros_like(perturbed)
    for _ in range(k):
        perturbed = perturbed + torch.clamp(1 - chosen, min=_LEAST).log()
        chosen = torch.softmax(perturbed / temperature, dim=-1)
        total = total + chosen
    return total


def hard_top_k(perturbed: Any, k: int) -> Any:
    """Return ones for the k largest."""
    import torch

    return torch.zeros_like(perturbed).scatter_(-1, perturbed.topk(k, dim=-1).indices, 1.0)


def sample_top_k(logits: Any, k: int, temperature: float) -> Any:
    """Draw a k-subset, straight through the relaxed top-k."""
    perturbed = logits + gumbels_like(logits)
    relaxed = relaxed_top_k(perturbed, k, temperature)
    return hard_top_k(perturbed.detach(), k) + relaxed - relaxed.detach()


def log_polynomials(logits: Any, k: int) -> list[Any]:
    """Return log e_j, j = 0..min(m, k), of the first m elements, for m = 0..n."""
    import torch

    table = [torch.zeros_like(logits[..., :1])]
    for element in logits.unbind(dim=-1):
        before = table[-1]
        with_it = before + element[..., None]
        parts = [before[..., :1], torch.logaddexp(before[..., 1:], with_it[..., :-1])]
        if before.shape[-1] <= k:
            parts.append(with_it[..., -1:])
        table.append(torch.cat(parts, dim=-1))
    return table


def sample_simple(logits: Any, k: int) -> Any:
    """Draw a k-subset exactly, straight through its marginals.

    Ahmed, Zeng, Niepert & Van den Broeck 2023 (*SIMPLE*): the marginals are the gradient of
    log e_k, the elementary symmetric polynomial of the rates, by dynamic programming.
    """
    import torch

    table = log_polynomials(logits, k)
    (marginals,) = torch.autograd.grad(table[-1][..., k].sum(), logits, create_graph=True)
    with torch.no_grad():
        left = torch.full(logits.shape[:-1], k, dtype=torch.int64)
        columns = []
        for number in range(logits.shape[-1], 0, -1):
            at = left[..., None]
            below = table[number - 1].gather(-1, torch.clamp(at - 1, min=0))[..., 0]
            log_p = logits[..., number - 1] + below - table[number].gather(-1, at)[..., 0]
            take = (left > 0) & ((torch.rand_like(log_p) < log_p.exp()) | (left == number))
            columns.append(take)
            left = left - take.long()
        value = torch.stack(columns[::-1], dim=-1).to(logits.dtype)
    return value + marginals - marginals.detach()


def tree_marginals(utilities: Any, edges: np.ndarray) -> Any:
    """Return the marginals of edges by Kirchhoff's theorem and autograd, in double precision.

    Stochastic softmax tricks (Paulus, Choi, Tarlow, Krause & Maddison 2020), where the utilities
    are perturbed logits over the temperature.
    """
    import torch

    utilities = utilities.double()
    utilities = utilities - utilities.detach().amax(dim=-1, keepdim=True)
    utilities = utilities.clamp(min=_LEAST_UTILITY)
    incidence = torch.zeros(len(edges), int(edges.max()) + 1, dtype=torch.float64)
    rows = torch.arange(len(edges))
    incidence[rows, edges[:, 0]], incidence[rows, edges[:, 1]] = 1.0, -1.0
    incidence = incidence[:, 1:]
    laplacian = incidence.T @ (utilities.exp()[..., None] * incidence)
    log_trees = torch.linalg.slogdet(laplacian).logabsdet.sum()
    return torch.autograd.grad(log_trees, utilities, create_graph=True)[0]


def kruskal(utilities: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the best spanning tree of each row, 0/1 over the edges."""
    value = np.zeros_like(utilities)
    ends = edges.tolist()
    for row, order in enumerate(np.argsort(-utilities, axis=-1).tolist()):
        parents = list(range(int(edges.max()) + 1))
        for edge in order:
            a, b = ends[edge]
            while parents[a] != a:
                parents[a] = a = parents[parents[a]]
            while parents[b] != b:
                parents[b] = b = parents[parents[b]]
            if a != b:
                parents[a] = b
                value[row, edge] = 1
    return value


def sample_tree(logits: Any, edges: np.ndarray, temperature: float) -> Any:
    """Draw a spanning tree, straight through the marginals of the perturbed logits."""
    import torch

    perturbed = logits + gumbels_like(logits)
    relaxed = tree_marginals(perturbed / temperature, edges).to(logits.dtype)
    value = torch.from_numpy(kruskal(perturbed.detach().numpy(), edges))
    return value + relaxed - relaxed.detach()


def call(sample: Any, logits: np.ndarray, cotangent: np.ndarray, *arguments: Any) -> Call:
    """Return a sampler's call, forward and backward."""
    import torch

    leaf, gradient = torch.tensor(logits, requires_grad=True), torch.tensor(cotangent)

    def forward_and_backward() -> Any:
        return torch.autograd.grad(sample(leaf, *arguments), leaf, gradient)

    return forward_and_backward
