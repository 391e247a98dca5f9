"""What the scripts say to somebody who asks for help or mistypes, and what scripts/record keeps."""
import json
import re
import subprocess
import sys

import pytest

from support.paths import ROOT

SCRIPTS = sorted(each.name for each in (ROOT / "scripts").iterdir() if each.is_file())


def ran(script, *arguments):
    return subprocess.run(
        [ROOT / "scripts" / script, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_no_error(script):
    for option in ("--help", "-h"):
        done = ran(script, option)
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert script in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option_ends_before_anything_is_done(script):
    done = ran(script, "--nonsense")
    assert done.returncode in (2, 64) and not done.stdout, done.stdout
    assert "error: " in done.stderr and script in done.stderr


@pytest.mark.parametrize("script, arguments", [
    ("demo", ["--seconds", "soon"]), ("demo", ["--seconds"]), ("demo", ["--profile", "huge"]), ("record", ["--seconds", "1e"]),
    ("record", ["--output"]), ("chaos", ["--minutes", "ten"]), ("chaos", ["--replicas", "10"]), ("chaos", ["--seed", "1.5"]),
    ("chaos", ["--measure", "all"]), ("bench", ["--only"]), ("check-image", ["--binary", "/nothing"]), ("test", ["--filter"]),
])
def test_a_wrong_value_is_named(script, arguments):
    done = ran(script, *arguments)
    assert done.returncode == 64 and not done.stdout, done.stdout
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: ") and all(each in first for each in arguments), first


def test_record_keeps_what_a_terminal_showed(tmp_path):
    program = (
        "import os, sys; size = os.get_terminal_size(); print(size.columns, size.lines, sys.stdin.isatty());"
        "sys.stdout.write('half\\rfull → \\x1b[1mbold\\x1b[0m\\n'); sys.exit(3)"
    )
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "lib" / "record.py", "--output", tmp_path, sys.executable, "-c", program],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 3, done.stderr
    header, *events = map(json.loads, (tmp_path / "demo.cast").read_text(encoding="utf-8").splitlines())
    assert (header["version"], header["width"], header["height"]) == (2, 100, 40)
    times = [at for at, kind, _ in events]
    assert times == sorted(times) and {kind for _, kind, _ in events} == {"o"}
    shown = "".join(text for *_, text in events)
    assert shown.replace("\r\n", "\n") == done.stdout.replace("half\n", "half\r") and shown.startswith(f"$ {sys.executable} -c ")
    assert shown.endswith("\r\n100 40 True\r\nhalf\rfull → \x1b[1mbold\x1b[0m\r\n")
    text = (tmp_path / "demo.txt").read_text(encoding="utf-8")
    assert text.endswith("\n100 40 True\nfull → bold\n")
    assert not re.search(r"[\x1b\r]", text)
    assert not (tmp_path / "page.png").exists()
