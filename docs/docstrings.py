"""A check that Sphinx runs once all pages are read: what numpydoc does not ask of a docstring.

numpydoc asks for parameters, results and an example. Beside these, with a warning for each that is
missing, and so an error of the build,

- a public object is on a page;
- an argument, attribute or result that is an array says its shape;
- what takes arguments says which errors it raises, but for the classes of results, which nobody
  makes by hand;
- what computes, that is estimators, structures and whatever takes or returns an array, has a
  formula and says where it is from: a section of references, or a year and an equation's number.

Public are the names in an ``__all__``, and the methods and attributes of their classes that begin
without an underscore. A method that overrides one of a framework is described by the framework, an
inherited one where it is inherited from. The methods of a structure are called by estimators alone.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from numpydoc.docscrape import NumpyDocString
from sphinx.util import logging

import rbgs
from rbgs.structures.structure import Structure

RESULTS = ("Comparison", "Draw", "LazyDraw", "Moments", "Tuning")
_ARRAY = re.compile(r"\b(array|tensor)\b", flags=re.IGNORECASE)
_SHAPE = re.compile(r"``\(.*\)``")
_FORMULA = re.compile(r":math:`|^\.\. math::", flags=re.MULTILINE)
_CITATION = re.compile(r"\((19|20)\d\d\)[^.]*\b(eq\.|section|theorem|algorithm)\s+\d")


def public_modules() -> list[str]:
    """Return the modules with an ``__all__``; that of the compiled engine is its own affair."""
    root = Path(rbgs.__file__).parent
    files = [path for path in root.rglob("*.py") if path.parent != root / "compiled"]
    public = [path for path in files if re.search(r"^__all__", path.read_text(), re.MULTILINE)]
    parts = [path.relative_to(root.parent).with_suffix("").parts for path in public]
    return sorted(".".join(part for part in each if part != "__init__") for each in parts)


def public_objects() -> dict[str, Any]:
    """Return all that is public, by its full name."""
    modules = [import_module(name) for name in public_modules()]
    exported = {f"{m.__name__}.{name}": getattr(m, name) for m in modules for name in m.__all__}
    classes = {name: x for name, x in exported.items() if inspect.isclass(x)}
    members = {
        f"{name}.{member}": x
        for name, cls in classes.items()
        if not issubclass(cls, Structure)
        for member, x in _members(cls, set(classes.values()) - {cls})
    }
    return exported | members


def _members(cls: type, elsewhere: set[type]) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, without those of other public ones."""
    ours = [base for base in cls.__mro__ if base.__module__.startswith("rbgs.")]
    frameworks = set(cls.__mro__) - set(ours)
    for name in dir(cls):
        x = inspect.getattr_static(cls, name)
        is_member = isinstance(x, property | classmethod | staticmethod) or inspect.isfunction(x)
        home = next((base for base in cls.__mro__ if name in vars(base)), None)
        if (
            is_member
            and not name.startswith("_")
            and home in set(ours) - elsewhere
            and not any(hasattr(base, name) for base in frameworks)
        ):
            yield name, x


def faults(x: Any) -> Iterator[str]:
    """Yield what is missing in the docstring of a public object."""
    text = inspect.cleandoc(getattr(x, "__func__", x).__doc__ or "")
    doc = NumpyDocString(text)
    described = [item for part in ("Parameters", "Attributes", "Returns") for item in doc[part]]
    arrays = [item for item in described if _ARRAY.search(item.type)]
    for item in arrays:
        if not _SHAPE.search(item.type):
            yield f"no shape of {item.name or 'the result'}, {item.type}"
    is_class = inspect.isclass(x)
    is_result = is_class and x.__name__ in RESULTS
    if doc["Parameters"] and not doc["Raises"] and not is_result:
        yield "no section of the errors that it raises"
    if not doc["Examples"]:
        yield "no example"
    if is_class:
        names = {name for item in described for name in item.name.split(", ")}
        for field in dataclasses.fields(x) if dataclasses.is_dataclass(x) else ():
            if not field.name.startswith("_") and field.name not in names:
                yield f"no description of {field.name}"
    if issubclass(x, rbgs.Estimator | Structure) if is_class else arrays:
        if not _FORMULA.search(text):
            yield "no formula"
        if not (doc["References"] or _CITATION.search(" ".join(text.split()))):
            yield "no source: a section of references, or a year and an equation's number"


def check(app: Any, env: Any) -> None:
    """Warn of each public object that is on no page, and of all that its docstring lacks."""
    logger = logging.getLogger(__name__)
    on_pages = {name for name, *_ in env.get_domain("py").get_objects()}
    for name, x in public_objects().items():
        if name not in on_pages:
            logger.warning("%s: is on no page of the reference", name)
        for fault in faults(x):
            logger.warning("%s: %s", name, fault)


def setup(app: Any) -> dict[str, bool]:
    """Have Sphinx run the check."""
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
