"""Write reference_values.json: E[s | D] and E[J(s) | D] from the definition, by brute force.

Given that category i won the race of exponentials, the ratios x_j = T_j / T_i - 1 of the arrival
times have the joint survival function P(x_j > a_j for all j) = 1 / (1 + sum_j p_j a_j). So an
expectation is an integral over the n - 1 ratios of the density

    (n - 1)! prod_j p_j / (1 + sum_j p_j x_j)^n ,

done here by the trapezoidal rule after x_j = exp(y_j), which converges exponentially. It shares
nothing with the library's own quadrature, and costs a grid of n - 1 dimensions.

Run: python tests/support/reference_values.py
"""

import json
import math
from pathlib import Path

import numpy as np

CASES = [
    ((0.0, 0.0), 1.0, 0),
    ((1.5, -0.5), 0.1, 1),
    ((0.3, -0.7), 0.5, 0),
    ((0.0, 0.0, 0.0), 0.5, 2),
    ((1.0, 0.2, -0.8), 0.3, 1),
    ((2.0, 1.0, -3.0), 1.0, 0),
    ((-0.4, 0.9, 0.1), 2.0, 2),
    ((0.5, -0.2, 1.1, 0.0), 0.5, 3),
    ((0.1, 0.6, -1.0, 0.4), 1.0, 1),
]
# Step in y for 1, 2 and 3 ratios; halving it changes no digit that is written.
STEPS = {1: 0.05, 2: 0.1, 3: 0.25}


def conditional(logits, temperature, index):
    """Return the conditional means of the point and of its Jacobian."""
    p = np.exp(logits - np.logaddexp.reduce(logits))
    rivals = np.delete(np.arange(len(p)), index)
    step = STEPS[len(rivals)]
    # The density falls like exp(-|y|) on both sides.
    y = np.arange(-30.0, 36.0, step)
    x = np.meshgrid(*(np.exp(y),) * len(rivals), indexing="ij", sparse=True)
    total = 1 + sum(p[j] * xj for j, xj in zip(rivals, x, strict=True))
    weight = math.factorial(len(rivals)) / total ** len(p)
    for j, xj in zip(rivals, x, strict=True):
        weight = weight * p[j] * xj * step
    r = {j: (1 + xj) ** (-1 / temperature) for j, xj in zip(rivals, x, strict=True)}
    r[index] = 1.0
    sum_r = sum(r.values())
    s = [r[j] / sum_r for j in range(len(p))]
    mean = np.asarray([np.sum(weight * sj) for sj in s])
    second = np.asarray([[np.sum(weight * sj * sl) for sl in s] for sj in s])
    return mean, (np.diag(mean) - second) / temperature


def main():
    values = []
    for logits, temperature, index in CASES:
        mean, jacobian = conditional(np.asarray(logits), temperature, index)
        assert abs(mean.sum() - 1) < 1e-9, mean.sum()
        values.append(
            {
                "logits": logits,
                "temperature": temperature,
                "index": index,
                "mean": mean.round(11).tolist(),
                "jacobian": jacobian.round(11).tolist(),
            }
        )
    text = json.dumps(values, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n")


if __name__ == "__main__":
    main()
