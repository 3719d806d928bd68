"""How rows of logits lie in memory, and so what a processor's lanes are."""

# Lanes of a vector of the compiled engine, in single precision.
LANES = 32
# So many categories fill vectors; the arrays of as many rows as there are lanes would not fit the
# first cache.
_MANY = 128


def is_row_by_row(n: int, rows: int) -> bool:
    """Tell whether the categories of one row are next to each other, rather than rows of one.

    The lanes of a vector are then categories of one row, which wants many of them; otherwise they
    are rows. Where neither fills them, the way is taken that leaves fewer lanes idle.

    Parameters
    ----------
    n, rows : int
        The shape of an array of all rows.
    """
    if n >= _MANY:
        return True
    # One vector more for the sums over lanes.
    over_categories = rows * (-(-n // LANES) + 1)
    over_rows = n * -(-rows // LANES)
    return over_categories < over_rows
