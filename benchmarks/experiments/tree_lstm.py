"""The tree-LSTM of Choi, Yoo & Lee (2018), which learns its own binary trees.

At each step all adjacent pairs are composed, a categorical variable chooses one of them, and the
pair is replaced by its composition, until one node is left.
"""

import torch
from torch import Tensor, nn

import rbgs
from rbgs.torch import sample


class TreeLSTM(nn.Module):
    """A classifier of token sequences.

    Parameters
    ----------
    vocabulary, classes : int
        The numbers of tokens and labels.
    size : int
        Of embeddings, nodes and the classifier's hidden layer.
    """

    def __init__(self, vocabulary: int, classes: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        self.leaf = nn.Linear(size, 2 * size)
        self.composition = nn.Linear(2 * size, 5 * size)
        self.query = nn.Linear(size, 1, bias=False)
        self.classifier = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, classes))
        nn.init.orthogonal_(self.composition.weight)
        nn.init.zeros_(self.composition.bias)

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        estimator: rbgs.Estimator | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the logits of the labels.

        Parameters
        ----------
        tokens : int64 tensor ``(batch, longest)``
            Padded behind the lengths with any token.
        lengths : int64 tensor ``(batch,)``
            How many tokens of each row count.
        estimator : rbgs.Estimator, optional
            Draws the choices; by default the likeliest pair is chosen.
        generator : torch.Generator, optional
            For the estimator.

        Returns
        -------
        Tensor ``(batch, classes)``
            Unnormalised log-probabilities.
        """
        hidden, cell = self.leaf(self.embedding(tokens)).chunk(2, dim=-1)
        longest = tokens.shape[1]
        for step in range(longest - 1):
            new_hidden, new_cell = self._compose(hidden, cell)
            pairs = lengths - 1 - step
            if new_hidden.shape[1] > 1:
                # A finished row keeps one pair, whose choice is ignored below.
                positions = torch.arange(new_hidden.shape[1], device=tokens.device)
                mask = positions < pairs.clamp(min=1)[:, None]
                scores = self.query(new_hidden).squeeze(-1)
                chosen = _choose(scores, mask, estimator, generator).unsqueeze(-1)
                new_hidden = _replace(hidden, new_hidden, chosen)
                new_cell = _replace(cell, new_cell, chosen)
            finished = (pairs <= 0)[:, None, None]
            hidden = torch.where(finished, hidden[:, :-1], new_hidden)
            cell = torch.where(finished, cell[:, :-1], new_cell)
        logits: Tensor = self.classifier(hidden[:, 0])
        return logits

    def _compose(self, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Return the compositions of all adjacent pairs."""
        both = torch.cat([hidden[:, :-1], hidden[:, 1:]], dim=-1)
        i, left, right, u, o = self.composition(both).chunk(5, dim=-1)
        # Forget gates that start open.
        kept = cell[:, :-1] * (left + 1).sigmoid() + cell[:, 1:] * (right + 1).sigmoid()
        new_cell = kept + u.tanh() * i.sigmoid()
        return o.sigmoid() * new_cell.tanh(), new_cell


def _choose(
    scores: Tensor,
    mask: Tensor,
    estimator: rbgs.Estimator | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Return a one-hot choice among the allowed pairs."""
    if estimator is not None:
        return sample(estimator, scores, generator=generator, mask=mask)
    best = scores.masked_fill(~mask, -torch.inf).argmax(dim=-1)
    return nn.functional.one_hot(best, scores.shape[-1]).to(scores.dtype)


def _replace(nodes: Tensor, compositions: Tensor, chosen: Tensor) -> Tensor:
    """Put the chosen composition in the place of its pair."""
    up_to = chosen.cumsum(dim=1)
    return chosen * compositions + (1 - up_to) * nodes[:, :-1] + (up_to - chosen) * nodes[:, 1:]
