"""The limit of open files, in a process of its own: a hard limit that was lowered cannot be raised again."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

_SCRIPT = """
import resource, sys
from tornflow.open_files import allow_open_files
soft, hard, needed = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_open_files(needed), resource.getrlimit(resource.RLIMIT_NOFILE)[0], file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "needed", "limit", "warns"),
    [
        (256, 512, 400, 512, False),
        (256, 512, 200, 256, False),
        (256, 512, 600, 512, True),
        (512, 512, 600, 512, True),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may(soft: int, hard: int, needed: int, limit: int, warns: bool) -> None:
    command = [sys.executable, "-c", _SCRIPT, str(soft), str(hard), str(needed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.splitlines()[-1] == f"{limit} {limit}"
    assert ("few open files are allowed" in done.stdout + done.stderr) == warns
