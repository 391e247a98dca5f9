"""scada-simulator as a process: for loads and faults that asyncua's server cannot have."""
import json
import socket
import subprocess

from .paths import SIMULATOR
from .wait import eventually

from private_postgres import free_port, with_parent


class Simulator:
    """One process with one server (or several on consecutive ports), a control port and, with --counters, an exact account."""

    def __init__(self, folder, *options, wells=2, rate=None, port=None, servers=1, seed=1):
        self.folder = folder
        self.port = port or free_port()
        self.control = free_port()
        self.summary = folder / f"simulator-{self.port}.json"
        self.log = folder / f"simulator-{self.port}.log"
        self.arguments = ["--wells", str(wells), "--port", str(self.port), "--seed", str(seed), "--servers", str(servers)]
        if rate is not None:
            self.arguments += ["--rate", str(rate)]
        self.arguments += [str(each) for each in options]
        self.process = None
        self.start()

    @property
    def url(self):
        return f"opc.tcp://127.0.0.1:{self.port}"

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                with_parent(
                    SIMULATOR, *self.arguments, "--quiet", "--control-port", str(self.control), "--summary", self.summary,
                    ending="KILL",
                ),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        eventually(self._answers, "the simulator listens", watch=self.must_live)

    def must_live(self):
        assert self.process.poll() is None, f"the simulator ended:\n{self.log.read_text()}"

    def _answers(self):
        try:
            return self.ask("stats")
        except OSError:
            return False

    def ask(self, command):
        """A command of the control port: its answer, as an object where it is JSON."""
        with socket.create_connection(("127.0.0.1", self.control), timeout=20) as connection:
            connection.sendall(command.encode() + b"\n")
            answer = connection.makefile("r", encoding="utf-8").readline().strip()
        assert answer and not answer.startswith("error"), f"{command}: {answer}"
        return json.loads(answer) if answer.startswith("{") else answer

    def seed_sql(self, *more):
        """SQL that registers its wells in a tenant's database."""
        done = subprocess.run(
            [SIMULATOR, *self.arguments, "--seed-sql", *[str(each) for each in more]], capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
