"""The check of docs/docstrings.py, and what it asks of every public docstring."""

import importlib.util
import inspect

import pytest
from documents import ROOT

import rbgs

pytest.importorskip("numpydoc")
_spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "docstrings.py")
docstrings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docstrings)


@pytest.mark.parametrize("module", docstrings.public_modules())
def test_a_public_docstring_lacks_nothing(module):
    for framework in module.split(".")[1:2]:
        pytest.importorskip(framework)
    objects = docstrings.public_objects(module)
    found = {
        name: list(docstrings.faults(x, objects.get(name.rpartition(".")[0])))
        for name, x in objects.items()
    }
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_methods_count_and_those_described_elsewhere_do_not():
    public = docstrings.public_objects("rbgs")
    assert {"rbgs.Estimator.sample", "rbgs.Draw.vjp", "rbgs.Key.at"} <= set(public)
    inherited = {"rbgs.GumbelRao.sample", "rbgs.Relax.gradient_with_eta", "rbgs.Subset.check"}
    assert inherited.isdisjoint(public)


def test_the_base_class_names_every_estimator():
    classes = [x for x in map(rbgs.__dict__.get, rbgs.__all__) if isinstance(x, type)]
    names = {x.__name__ for x in classes if issubclass(x, rbgs.Estimator)} - {"Estimator"}
    assert {name for name in names if f"`~rbgs.{name}`" not in rbgs.Estimator.__doc__} == set()


def without(text, section):
    """Return a docstring without one of its sections."""
    lines = inspect.cleandoc(text).splitlines()
    heads = [number for number, line in enumerate(lines[1:]) if line.startswith("---")]
    begin = lines.index(section)
    end = min((head for head in heads if head > begin), default=len(lines))
    return "\n".join(lines[:begin] + lines[end:])


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ("Raises", "no section of the errors that it raises"),
        ("References", "no source"),
        ("Examples", "no example"),
        ("Parameters", "no description of temperature"),
    ],
)
def test_a_section_that_is_missing_is_found(section, fault):
    class Estimator(rbgs.ReinMax):
        __doc__ = without(rbgs.ReinMax.__doc__, section)

    assert list(docstrings.faults(Estimator)) == [fault]


def test_a_formula_and_a_shape_that_are_missing_are_found():
    def double(x):
        """Return twice an array.

        Parameters
        ----------
        x : floating array
            Of any shape.

        Returns
        -------
        array ``(..., n)``
            Twice that.

        Raises
        ------
        TypeError
            It is no array.

        Examples
        --------
        >>> double(1)
        2
        """
        return 2 * x

    assert list(docstrings.faults(double)) == [
        "no shape of x, floating array",
        "no formula",
        "no source",
    ]
    double.__doc__ = double.__doc__.replace(
        "array.", "array :math:`x` (Author 2021, eq. 3).", 1
    ).replace("floating array", "array ``(..., n)``")
    assert list(docstrings.faults(double)) == []
