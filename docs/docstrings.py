"""A check that Sphinx runs once all pages are read: what numpydoc does not ask of a docstring.

numpydoc validates its form, its parameters and its results. Beside these, with a warning for each
that is missing, and so an error of the build,

- a public object is on a page, and has an example;
- an argument, attribute or result that is an array says its shape, and an estimator or a structure
  that of its logits;
- what takes arguments says which errors it raises, but for the classes of results, which nobody
  makes by hand;
- what computes has a formula and says where it is from: an estimator or a structure in a section of
  references; a function that takes or returns an array with axes there, by a year and the number of
  an equation, or in the references of its class.

Public are the names in an ``__all__``, and the methods and properties of their classes that begin
without an underscore; those inherited from a public class are described there. The methods of a
structure are called by estimators alone.

Beside it, titles that are names may break after a dot.
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

from numpydoc.docscrape import NumpyDocString
from sphinx.util import logging

import rbgs
from rbgs.structures.structure import Structure

RESULTS = ("Comparison", "Draw", "LazyDraw", "Moments", "Tuning")
_ARRAY = re.compile(r"\b(array|tensor)\b", flags=re.IGNORECASE)
_SHAPE = re.compile(r"``\(.*\)``")
_LOGITS = re.compile(r"``\(\.\.\., \w\)``")
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
    members = {
        f"{name}.{member}": x
        for name, cls in classes.items()
        if not issubclass(cls, Structure)
        for member, x in _members(cls)
    }
    return exported | members


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and properties that a class of ours has from no other public one."""
    loaded = [sys.modules[name] for name in public_modules() if name in sys.modules]
    # Of a module whose framework is missing there may be a part, without names.
    public = {getattr(module, name) for module in loaded for name in getattr(module, "__all__", ())}
    for base in reversed(cls.__mro__):
        if base.__module__.split(".")[0] != "rbgs" or base in public - {cls}:
            continue
        for name, x in vars(base).items():
            is_member = isinstance(x, property | classmethod | staticmethod | FunctionType)
            if is_member and not name.startswith("_"):
                yield name, inspect.getattr_static(cls, name)


def faults(x: Any, cls: Any = None) -> Iterator[str]:
    """Yield what is missing in the docstring of a public object, a member of a class or not."""
    text = inspect.cleandoc(getattr(x, "__func__", x).__doc__ or "")
    doc = NumpyDocString(text)
    described = [item for part in ("Parameters", "Attributes", "Returns") for item in doc[part]]
    arrays = [item for item in described if _ARRAY.search(item.type)]
    for item in arrays:
        if not _SHAPE.search(item.type):
            yield f"no shape of {item.name or 'the result'}, {item.type}"
    is_class = inspect.isclass(x)
    is_result = is_class and x.__name__ in RESULTS
    is_made_for_logits = is_class and issubclass(x, rbgs.Estimator | Structure)
    if doc["Parameters"] and not doc["Raises"] and not is_result:
        yield "no section of the errors that it raises"
    if not doc["Examples"]:
        yield "no example"
    if is_class:
        names = {name for item in described for name in item.name.split(", ")}
        for field in dataclasses.fields(x) if dataclasses.is_dataclass(x) else ():
            if not field.name.startswith("_") and field.name not in names:
                yield f"no description of {field.name}"
    if is_made_for_logits and not _LOGITS.search(text):
        yield "no shape of the logits"
    has_axes = any("``()``" not in item.type for item in arrays)
    if is_made_for_logits or (has_axes and not is_class):
        if not _FORMULA.search(text):
            yield "no formula"
        cited = None if is_class else _CITATION.search(" ".join(text.split()))
        of_class = cls is not None and "References\n" in (cls.__doc__ or "")
        if not (doc["References"] or cited or of_class):
            yield "no source"


def check(_: Any, env: Any) -> None:
    """Warn of each public object that is on no page, and of all that its docstring lacks."""
    logger = logging.getLogger(__name__)
    on_pages = {name for name, *_ in env.get_domain("py").get_objects()}
    for module in public_modules():
        objects = public_objects(module)
        for name, x in objects.items():
            if name not in on_pages:
                logger.warning("%s: is on no page of the reference", name)
            for fault in faults(x, objects.get(name.rpartition(".")[0])):
                logger.warning("%s: %s", name, fault)


def break_title(_app: Any, _page: str, _template: str, context: dict[str, Any], _: Any) -> None:
    """Let the name that is a page's title break after its dots, on a narrow screen."""
    name, body = re.compile(r"(?<=<h1>)rbgs[\w.]+"), context.get("body", "")
    context["body"] = name.sub(lambda found: found[0].replace(".", ".<wbr>"), body)


def setup(app: Any) -> dict[str, bool]:
    """Have Sphinx run the check, and break titles."""
    app.connect("env-check-consistency", check)
    app.connect("html-page-context", break_title)
    return {"parallel_read_safe": True}
