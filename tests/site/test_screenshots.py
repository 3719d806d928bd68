"""Pictures of the pages that stand for all, to be looked at: only with `--screenshots DIR`."""


def test_a_picture_is_taken(picture, visitor, request):
    name, width, scheme = picture
    page = visitor.open(name, width, scheme).page
    file = f"{name.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.png"
    page.screenshot(path=request.config.getoption("--screenshots") / file, full_page=True)
    page.close()
