"""The estimators of the paper's tables, by the names that they have there."""

import rbgs

REINFORCE = "REINFORCE"
NAMES = ("GS", REINFORCE, "ST", "ST-GS", "GR-MC10", "GR-MC100", "GR-MC1000", "GR")


def make(name: str, temperature: float) -> rbgs.Estimator:
    """Return an estimator: "GR-MC10" is the paper's with K = 10, "GR" the library's default."""
    if name == "GS":
        return rbgs.GumbelSoftmax(temperature)
    if name == "ST":
        return rbgs.StraightThrough(temperature)
    if name == "ST-GS":
        return rbgs.StraightThroughGumbelSoftmax(temperature)
    if name == "GR":
        return rbgs.GumbelRao(temperature)
    if name == REINFORCE:
        return rbgs.Reinforce()
    if name.startswith("GR-MC") and name[5:].isdecimal():
        return rbgs.GumbelRao(temperature, int(name[5:]), "monte_carlo", control_variate=False)
    raise ValueError(f"no estimator {name!r}; there are {', '.join(NAMES)}")
