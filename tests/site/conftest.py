"""The site as readers get it: `nox -s docs_check`. Without `--site` nothing here is collected."""

import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

WIDTHS = (1400, 400)
SCHEMES = ("light", "dark")
OFFLINE = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-first-run",
    "--no-sandbox",
]
RENDERED = "async () => { await document.fonts.ready; await window.MathJax?.startup?.promise; }"


def pytest_addoption(parser):
    parser.addoption("--site", type=Path, help="the folder of the pages to check")
    parser.addoption("--screenshots", type=Path, help="a folder for pictures of some of them")


def pytest_ignore_collect(config):
    return True if config.getoption("--site", None) is None else None


def pages(site):
    """Return the names of all pages, relative to the site."""
    return sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html"))


def examples(site):
    """Return pages that stand for all: the first and the last of each folder, and the start."""
    folders = {}
    for name in pages(site):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return sorted({"index.html"}.union(*((names[0], names[-1]) for names in folders.values())))


def pytest_generate_tests(metafunc):
    site = metafunc.config.getoption("--site")
    pictures = metafunc.config.getoption("--screenshots") and (examples(site), WIDTHS, SCHEMES)
    for fixture, axes in (
        ("name", (pages(site),)),
        ("page_at_width", (pages(site), WIDTHS)),
        ("example_in_scheme", (examples(site), SCHEMES)),
        ("picture", pictures or ((),)),
    ):
        if fixture in metafunc.fixturenames:
            values = [x if len(x) > 1 else x[0] for x in product(*axes)]
            ids = ["-".join(map(str, x)) for x in product(*axes)]
            opened = fixture in ("page_at_width", "example_in_scheme")
            metafunc.parametrize(
                fixture, values, ids=ids, indirect=opened, scope="module" if opened else None
            )


class Visit(NamedTuple):
    """A page in the browser, and the errors that its console has shown."""

    page: object
    errors: list[str]


class Visitor(NamedTuple):
    """A browser, and where it finds the site."""

    browser: object
    origin: str

    def open(self, address, width=WIDTHS[0], scheme="light"):
        """Return the visit of a page in a window of its own, when all is rendered."""
        window = {"width": width, "height": 900}
        page = self.browser.new_page(viewport=window, color_scheme=scheme, reduced_motion="reduce")
        errors = []

        def note(message):
            if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
                errors.append(f"{message.text} {message.location['url']}")

        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{self.origin}/{address}")
        page.evaluate(RENDERED)
        return Visit(page, errors)


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def site(request):
    return request.config.getoption("--site")


@pytest.fixture(scope="session")
def visitor(site):
    """Serve the site to a browser that reaches nothing else."""
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=site))
    Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=OFFLINE)
        yield Visitor(browser, f"http://127.0.0.1:{server.server_port}")
        browser.close()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def page_at_width(request, visitor):
    name, width = request.param
    visit = visitor.open(name, width=width)
    yield visit
    visit.page.close()


@pytest.fixture(scope="module")
def example_in_scheme(request, visitor):
    name, scheme = request.param
    visit = visitor.open(name, scheme=scheme)
    yield visit
    visit.page.close()
