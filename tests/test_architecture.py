"""The imports keep to the floors of docs/architecture.md, and its picture shows them."""

import ast
import importlib.util
import re
from graphlib import TopologicalSorter
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_spec = importlib.util.spec_from_file_location("architecture", DOCS / "architecture.py")
architecture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(architecture)


def test_every_file_is_in_a_room_of_the_page():
    rooms = {room for room, _ in architecture.files()}
    assert rooms == {room for floor in architecture.FLOORS for room in floor}
    page = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`(\w+)(?:/|\.py)`", page.split("## ")[0]))
    assert named == rooms


def test_a_room_imports_lower_floors_only():
    imports, on_use = architecture.links()
    assert len(imports) > 30
    assert architecture.upward(imports) == set()
    # The switch of the compiled engine, and what it replaces.
    assert on_use <= {("arrays", "compiled"), ("conditional", "compiled"), ("__init__", "torch")}


def test_an_upward_import_would_be_found():
    assert architecture.upward({("arrays", "draw"), ("draw", "arrays"), ("random", "draw")}) == {
        ("arrays", "draw"),
        ("random", "draw"),
    }


def test_no_file_imports_itself_by_way_of_others():
    graph = {}
    for _, path in architecture.files():
        name = ".".join(path.relative_to(architecture.PACKAGE.parent).with_suffix("").parts)
        found = graph.setdefault(name.removesuffix(".__init__"), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("rbgs."):
                found.add(node.module)
    TopologicalSorter(graph).prepare()  # it raises CycleError


def test_the_picture_is_of_these_imports():
    picture = (DOCS / "architecture.svg").read_text().replace("&gt;", ">")
    assert architecture.describe(*architecture.links()) in picture
