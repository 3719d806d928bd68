"""Each page in a browser, in a wide and in a narrow window."""

LINE = "const line = e => e.outerHTML.replace(/\\s+/g, ' ').slice(0, 160);"
STICKING_OUT = (
    "() => {"
    + LINE
    + """
    const margin = 8; // pixels, half of that of a narrow window
    const right = e => e.getBoundingClientRect().right;
    const scrolls = e => e.tagName !== "ARTICLE" && (
        ["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    const all = [...document.querySelectorAll("article *")]
        .filter(e => right(e) > right(e.closest("article")) + margin && e.checkVisibility())
        .filter(e => !e.closest("mjx-assistive-mml") && !scrolls(e.parentElement));
    return all.filter(e => !all.includes(e.parentElement)).map(line);
}"""
)
RAW = r"""() => {
    const others = "pre, code, script, style, title, mjx-assistive-mml";
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const {data, parentElement} = walker.currentNode;
        if (/\$|\\[([a-zA-Z]/.test(data) && !parentElement.closest(others)
            && parentElement.checkVisibility())
            found.push(data.trim().slice(0, 120));
    }
    return found;
}"""
NOT_RENDERED = (
    "() => {"
    + LINE
    + """
    const rendered = "mjx-container, math, img, svg";
    const shown = e => e.checkVisibility() && e.getBoundingClientRect().width > 0;
    return [...document.querySelectorAll(".math")]
        .filter(e => e.checkVisibility() && ![...e.querySelectorAll(rendered)].some(shown))
        .concat([...document.querySelectorAll("mjx-merror, [data-mjx-error]")])
        .map(line);
}"""
)
NOT_LOADED = """async () => {
    const pictures = [...document.images];
    for (const picture of pictures) picture.loading = "eager";
    await Promise.allSettled(pictures.map(picture => picture.decode()));
    return pictures.filter(picture => !picture.naturalWidth).map(picture => picture.src);
}"""


def nothing_found(visit, script):
    found = visit.page.evaluate(script)
    assert not found, "\n".join(found)


def test_the_window_does_not_scroll_sideways(page_at_width):
    root = "document.documentElement"
    assert page_at_width.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") <= 0


def test_what_is_wider_than_the_text_scrolls_in_its_place(page_at_width):
    nothing_found(page_at_width, STICKING_OUT)


def test_no_source_of_a_formula_is_left(page_at_width):
    nothing_found(page_at_width, RAW)


def test_every_formula_is_rendered(page_at_width):
    nothing_found(page_at_width, NOT_RENDERED)


def test_every_picture_is_loaded(page_at_width):
    nothing_found(page_at_width, NOT_LOADED)


def test_the_console_shows_no_error(page_at_width):
    assert not page_at_width.errors
