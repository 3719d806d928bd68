"""What can be read off the HTML: links, anchors, resources, titles, headings, descriptions."""

import re
from collections import defaultdict
from functools import cache
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

MADE_BY_SPHINX = re.compile(r"(genindex.*|search|py-modindex)\.html|_modules/.*")
RESOURCES = (
    "script[src], img, source, iframe, video, audio, embed, object, "
    "link[rel~=stylesheet], link[rel~=icon], link[rel~=preload], link[rel~=manifest]"
)
ADDRESSES = ("href", "src", "srcset", "data", "poster")


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path):
    return {x.get("id") or x["name"] for x in soup(path).select("[id], a[name]")}


def addresses(path, selector):
    found = (x.get(key) for x in soup(path).select(selector) for key in ADDRESSES)
    return [x for x in found if x and not x.startswith("data:")]


def outside(address):
    return bool(urlsplit(address).scheme or urlsplit(address).netloc)


def leads_somewhere(link, path, site):
    """Say whether a link of a page within the site is to a file there, and its anchor in that."""
    parts = urlsplit(link)
    target = path.parent / unquote(parts.path) if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    return (
        target.is_file()
        and target.resolve().is_relative_to(site.resolve())
        and (not parts.fragment or unquote(parts.fragment) in anchors(target))
    )


def test_links_and_anchors_lead_somewhere(name, site):
    path = site / name
    links = {x for x in addresses(path, f"a, area, link, {RESOURCES}") if not outside(x)}
    assert not [x for x in links if not leads_somewhere(x, path, site)]


def test_nothing_is_taken_from_the_network(name, site):
    assert not [x for x in addresses(site / name, RESOURCES) if outside(x)]


def test_no_style_takes_anything_from_the_network(site):
    for path in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", path.read_text()), path


def test_pictures_have_a_text_in_their_place(name, site):
    for picture in soup(site / name).select("img"):
        text = picture.get("alt", "").strip()
        assert text, picture
        assert not re.fullmatch(r"\S+\.(png|svg|jpg|gif|webp)", text), picture


def test_there_is_one_heading_of_the_first_level(name, site):
    wanted = 0 if name == "search.html" else 1  # there a script writes it
    assert len(soup(site / name).select("h1")) == wanted


@pytest.mark.parametrize("part", ["title", "meta[name=description]"])
def test_each_page_says_what_it_is_in_words_of_its_own(part, site):
    pages = defaultdict(list)
    for path in site.rglob("*.html"):
        name = path.relative_to(site).as_posix()
        if not MADE_BY_SPHINX.fullmatch(name):
            element = soup(path).select_one(part)
            pages[(element.get("content") or element.text).strip() if element else ""].append(name)
    silent = pages.pop("", [])
    assert not silent, "nothing in " + ", ".join(silent)
    assert not {text: names for text, names in pages.items() if len(names) > 1}
