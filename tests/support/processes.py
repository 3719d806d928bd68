"""Python programs in processes of their own, which fail when they hang."""

import os
import signal
import subprocess
import sys
import textwrap


def run(code, *, timeout=200, **environment):
    """Return what a program prints to stdout and to stderr; raise if it fails or hangs."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # and what it forked
        process.kill()
        raise
    assert process.returncode == 0, err
    return out.strip(), err.strip()
