"""What the wheel and the sdist in a folder hold: `python tests/release/contents.py dist`."""

import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

PARTS = {"benchmarks", "docs", "rbgs", "tests"}
FILES = {
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "constraints-oldest.txt",
    "constraints.txt",
    "noxfile.py",
    "pyproject.toml",
}


def sources():
    """Return the files of the repository, without what Git ignores: products of builds."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return set(subprocess.check_output(command, text=True).splitlines())


def check(found, wanted, where):
    assert not wanted - found, f"{where} lacks {sorted(wanted - found)}"
    assert not found - wanted, f"{where} should not hold {sorted(found - wanted)}"
    print(where, "holds what it should:", len(found), "files")


if __name__ == "__main__":
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    (sdist,) = Path(sys.argv[1]).glob("*.tar.gz")
    kept = {x for x in sources() if x.partition("/")[0] in PARTS} | FILES
    with tarfile.open(sdist) as archive:
        files = {x.name.partition("/")[2] for x in archive.getmembers()}
    check(files, kept | {".gitignore", "PKG-INFO"}, sdist.name)
    with ZipFile(wheel) as archive:
        files = set(archive.namelist())
    metadata = {x for x in files if x.partition("/")[0].endswith(".dist-info")}
    check(files - metadata, {x for x in kept if x.startswith("rbgs/")}, wheel.name)
    assert "rbgs/py.typed" in files
