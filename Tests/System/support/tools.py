"""Programs that some tests use and that need not be there."""
import shutil

import pytest

from .paths import ROOT

PACKAGES = {"promtool": "prometheus", "prometheus": "prometheus", "node": "nodejs", "npm": "npm", "chromium": "chromium"}


def find(name):
    """The program, installed or unpacked by scripts/test; None when it is not here."""
    unpacked = ROOT / ".build" / "tools" / name
    return shutil.which(name) or (str(unpacked) if unpacked.exists() else None)


def tool(name):
    """The program; skips the test when it is not here."""
    program = find(name)
    if not program:
        pytest.skip(f"{name} is not here (Debian package {PACKAGES.get(name, name)})")
    return program
