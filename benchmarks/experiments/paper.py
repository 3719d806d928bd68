"""What Paulus, Maddison & Krause (2021) report in their tables 1 and 2."""

from typing import Any

# Best test accuracy in %: (longest, temperature) -> value.
_LISTOPS_COLUMNS = [(longest, tau) for longest in (10, 25, 50) for tau in (0.01, 0.1, 1.0)]
_LISTOPS = {
    "ST-GS": (38.8, 59.3, 65.8, 41.2, 57.1, 60.2, 46.8, 56.8, 59.6),
    "GR-MC10": (66.4, 66.9, 66.7, 60.7, 60.8, 60.9, 58.7, 59.1, 59.6),
    "GR-MC100": (65.6, 66.3, 65.9, 60.0, 61.3, 61.2, 59.6, 59.1, 59.6),
    "GR-MC1000": (66.5, 67.1, 67.0, 60.2, 60.9, 61.2, 60.0, 59.8, 59.9),
}
# Best bound on the test negative log-likelihood: (arity, batch) -> value.
_VAE_COLUMNS = [(arity, batch) for arity in (2, 4, 8, 16) for batch in (20, 200)]
_VAE = {
    "GS": (98.2, 96.4, 95.7, 93.8, 95.5, 92.3, 96.8, 94.3),
    "REINFORCE": (202.6, 121.4, 173.7, 122.2, 203.9, 124.9, 169.4, 129.5),
    "ST": (105.5, 103.1, 106.2, 104.5, 107.2, 105.1, 108.2, 104.5),
    "ST-GS": (100.7, 97.1, 99.1, 93.7, 98.0, 92.8, 98.8, 92.6),
    "GR-MC10": (100.7, 97.4, 97.8, 93.8, 97.4, 93.1, 97.9, 92.4),
    "GR-MC100": (100.6, 96.8, 97.5, 94.0, 96.8, 92.2, 97.3, 92.4),
    "GR-MC1000": (100.5, 97.0, 97.6, 93.5, 96.5, 92.5, 96.8, 92.2),
}

Numbers = dict[tuple[str, tuple[Any, ...]], float]


def _flatten(columns: list[tuple[Any, ...]], rows: dict[str, tuple[float, ...]]) -> Numbers:
    return {
        (name, column): value
        for name, values in rows.items()
        for column, value in zip(columns, values, strict=True)
    }


LISTOPS = _flatten(_LISTOPS_COLUMNS, _LISTOPS)
VAE = _flatten(_VAE_COLUMNS, _VAE)
