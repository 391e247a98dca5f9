"""Runs a command in a pseudo terminal and keeps what it showed, as an asciicast (version 2) and as text; run by scripts/record.

Once the command has named the address of the daemon's status page, a screenshot of it is made every few seconds, where
playwright finds a Chromium: the last one while the daemon lived stays.
"""
import argparse
import codecs
import contextlib
import fcntl
import json
import os
import pathlib
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time

WIDTH, HEIGHT = 100, 40
# Colours, cursor movements, and the like (ECMA-48, control sequences).
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def record(command, cast, shown):
    """Runs `command`; writes what it prints to `cast` with its times, to this program's own output and to `shown` (called with
    each piece). Ctrl-C goes to the command. Returns its exit code and everything it printed.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))

    def take_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=take_terminal, close_fds=True
    )
    os.close(theirs)
    header = {"version": 2, "width": WIDTH, "height": HEIGHT, "timestamp": int(time.time()), "title": shlex.join(command)}
    cast.write(json.dumps(header) + "\n")
    start, decoder, everything = time.monotonic(), codecs.getincrementaldecoder("utf-8")("replace"), []

    def event(text):
        everything.append(text)
        cast.write(json.dumps([round(time.monotonic() - start, 6), "o", text], ensure_ascii=False) + "\n")
        sys.stdout.write(text)
        sys.stdout.flush()

    event(f"$ {shlex.join(command)}\r\n")
    while True:
        try:
            select.select([ours], [], [])
            data = os.read(ours, 65536)
        except KeyboardInterrupt:
            os.write(ours, b"\x03")
            continue
        except OSError:
            # Linux's word for a terminal that nobody holds open any more.
            data = b""
        if not data:
            break
        text = decoder.decode(data)
        if text:
            event(text)
            shown(text)
    os.close(ours)
    return process.wait(), "".join(everything)


def plain(output):
    """The text that is left on a terminal: without control sequences, and of a line that was overwritten the last state."""
    lines = CONTROL.sub("", output).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines)


class Photographer:
    """Keeps the newest screenshot of the status page in a file."""

    def __init__(self, path):
        self.path = path
        self.over = threading.Event()
        self.thread = None
        self.text = ""

    def see(self, text):
        self.text = (self.text + text)[-4096:]
        page = re.search(r"page is (http://[0-9.:]+/)", self.text)
        if page and not self.thread:
            self.thread = threading.Thread(target=self.work, args=(page[1],))
            self.thread.start()

    def work(self, address):
        try:
            from playwright import sync_api
        except ImportError:
            print("no screenshot: playwright is not here", file=sys.stderr)
            return
        program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            with sync_api.sync_playwright() as driver:
                # Root may not use the sandbox, and the page is our own.
                browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(viewport={"width": 1000, "height": 800})
                # The page refreshes itself; it is opened once the daemon answers, and left alone when it no longer does.
                while not self.over.wait(1):
                    with contextlib.suppress(sync_api.Error):
                        page.goto(address)
                        break
                while not self.over.wait(3):
                    page.screenshot(path=self.path.with_suffix(".new.png"))
                    if page.request.get(f"{address}healthz").ok:
                        os.replace(self.path.with_suffix(".new.png"), self.path)
                browser.close()
        except sync_api.Error as error:
            if not self.path.exists():
                print(f"no screenshot: {str(error).splitlines()[0]}", file=sys.stderr)
        finally:
            self.path.with_suffix(".new.png").unlink(missing_ok=True)

    def end(self):
        self.over.set()
        if self.thread:
            self.thread.join()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    page = options.output / "page.png"
    page.unlink(missing_ok=True)
    photographer = Photographer(page)
    try:
        with open(options.output / "demo.cast", "w", buffering=1, encoding="utf-8") as cast:
            code, output = record(options.command, cast, photographer.see)
    finally:
        photographer.end()
    (options.output / "demo.txt").write_text(plain(output), encoding="utf-8")
    kept = [each.name for each in (options.output / "demo.cast", options.output / "demo.txt", page) if each.exists()]
    print(f"\nin {options.output}: {', '.join(kept)}", file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
