"""The search of the site, which needs no network."""

import pytest

TERMS = ("annealing", "flax", "entropy", "plot", "top-k", "mask", "mixture", "NumPyro")


@pytest.mark.parametrize("term", TERMS)
def test_the_search_finds_a_page(term, visitor):
    visit = visitor.open(f"search.html?q={term}")
    visit.page.wait_for_function("/found|did not match/.test(document.body.innerText)")
    assert visit.page.locator("#search-results li a").count()
    assert not visit.errors
    visit.page.close()
