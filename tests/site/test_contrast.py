"""Text against its background, in light and dark colours: WCAG, level AA, as axe-core finds it."""

from axe_playwright_python.sync_playwright import Axe

OPTIONS = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}


def test_text_has_contrast(example_in_scheme):
    violations = Axe().run(example_in_scheme.page, options=OPTIONS).response["violations"]
    assert not [
        f"{node['html'][:120]}: {node['any'][0]['message']}"
        for violation in violations
        for node in violation["nodes"]
    ]
