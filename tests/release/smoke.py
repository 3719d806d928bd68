"""An installed rbgs at work with its core dependencies alone: what `nox -s build` runs."""

from importlib.metadata import version

import numpy as np

import rbgs


def oracle(value):
    target = np.asarray([0.1, 0.2, 0.3, 0.4])
    return ((value - target) ** 2).sum(axis=-1), 2 * (value - target)


if __name__ == "__main__":
    assert rbgs.__version__ == version("rbgs")
    logits = np.random.default_rng(0).normal(size=(5, 4))
    draw = rbgs.GumbelRao(temperature=0.5, samples=10).sample(logits, rng=1)
    assert (np.sort(draw.value, axis=-1) == [0, 0, 0, 1]).all()
    gradient = draw.vjp(oracle(draw.value)[1])
    assert gradient.shape == logits.shape
    assert abs(gradient.sum(axis=-1)).max() < 1e-12
    both = [rbgs.StraightThroughGumbelSoftmax(0.5), rbgs.GumbelRao(0.5, samples=100)]
    one, many = rbgs.compare(both, oracle, logits[0], draws=2000, rng=0)
    assert many.variance < one.variance
    print("rbgs", rbgs.__version__, "works, from", rbgs.__file__)
