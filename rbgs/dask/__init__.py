"""Dask's door: lazy samples and products, chunk by chunk, the same for any chunking."""

from rbgs.doors import not_installed

try:
    from rbgs.dask.draw import LazyDraw
    from rbgs.dask.sampling import noise, sample
except ModuleNotFoundError as error:
    raise not_installed(error, "dask") from None

__all__ = ["LazyDraw", "noise", "sample"]
