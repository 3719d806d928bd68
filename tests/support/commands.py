"""The commands of `benchmarks`, run as a user of the repository runs them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(module, *arguments):
    """Return the command line, to be run in ROOT."""
    return [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]


def run(module, *arguments):
    """Run a command; it must succeed."""
    subprocess.run(command(module, *arguments), cwd=ROOT, check=True)
