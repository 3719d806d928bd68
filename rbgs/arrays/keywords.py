"""Keywords that differ between the doors, each named as its framework names it."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def instead_of(**wanted: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function refuse the keywords of other doors, naming its own, as in ``dim="axis"``."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in wanted:
                    raise TypeError(
                        f"{function.__qualname__} has no {name}=: it is {wanted[name]}= here"
                    )
            return function(*args, **kwargs)

        return checked

    return decorate
