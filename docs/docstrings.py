"""A check that Sphinx runs once all pages are read: what numpydoc does not ask of a docstring.

numpydoc asks for parameters, results and an example. Beside these, with a warning for each that is
missing, and so an error of the build,

- a public object is on a page;
- an argument, attribute or result that is an array says its shape;
- what takes arguments says which errors it raises, but for the classes of results, which nobody
  makes by hand;
- what computes has a formula and says where it is from: an estimator or a structure in a section of
  references; a function that takes or returns an array there, or by a year and the number of an
  equation.

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
_CITATION = re.compile(r"\b(19|20)\d\d\W+(eq\.|section|theorem|algorithm|figure) \d")


def public_modules() -> list[str]:
    """Return the modules with an ``__all__``; those of the compiled engine are for rbgs alone."""
    root = Path(rbgs.__file__).parent
    files = [path for path in root.rglob("*.py") if path.parent != root / "compiled"]
    public = [path for path in files if re.search(r"^__all__", path.read_text(), re.MULTILINE)]
    parts = [path.relative_to(root.parent).with_suffix("").parts for path in public]
    return sorted(".".join(part for part in each if part != "__init__") for each in parts)


def public_objects(module: str) -> dict[str, Any]:
    """Return all that is public in a module, by its full name."""
    public = import_module(module)
    exported = {f"{module}.{name}": getattr(public, name) for name in public.__all__}
    classes = {name: x for name, x in exported.items() if inspect.isclass(x)}
    described = {getattr(rbgs, name) for name in rbgs.__all__} | set(classes.values())
    members = {
        f"{name}.{member}": x
        for name, cls in classes.items()
        if not issubclass(cls, Structure)
        for member, x in _members(cls, described - {cls})
    }
    return exported | members


def _members(cls: type, described: set[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, but for those described elsewhere."""
    ours = {base for base in cls.__mro__ if base.__module__.split(".")[0] == "rbgs"}
    elsewhere = described | set(cls.__mro__) - ours
    for name in dir(cls):
        homes = [base for base in cls.__mro__ if name in vars(base)]
        if name.startswith("_") or not elsewhere.isdisjoint(homes):
            continue
        x = inspect.getattr_static(cls, name)
        if isinstance(x, property | classmethod | staticmethod) or inspect.isfunction(x):
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
        is_cited = not is_class and _CITATION.search(" ".join(text.split()))
        if not (doc["References"] or is_cited):
            yield "no source"


def check(_: Any, env: Any) -> None:
    """Warn of each public object that is on no page, and of all that its docstring lacks."""
    logger = logging.getLogger(__name__)
    on_pages = {name for name, *_ in env.get_domain("py").get_objects()}
    for module in public_modules():
        for name, x in public_objects(module).items():
            if name not in on_pages:
                logger.warning("%s: is on no page of the reference", name)
            for fault in faults(x):
                logger.warning("%s: %s", name, fault)


def setup(app: Any) -> dict[str, bool]:
    """Have Sphinx run the check."""
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True}
