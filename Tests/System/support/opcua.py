"""The test's side of the OPC UA server in support/opcua_server.py."""
import json
import os
import select
import signal
import subprocess
import sys
import uuid

from .paths import SYSTEM
from .wait import eventually

from private_postgres import free_port, with_parent


class CounterServer:
    """A process with an asyncua server of counters. All commands return when the server has carried them out.

    `options` are those of configure in opcua_server.py: history, users, transfers, security.
    """

    def __init__(self, folder, tags, **options):
        self.folder = folder
        self.port = free_port()
        self.names = [f"Tag{number:05}" for number in range(tags)]
        self.errors = open(folder / f"opcua-server-{self.port}.log", "ab")
        self.process = subprocess.Popen(
            with_parent(sys.executable, SYSTEM / "support" / "opcua_server.py", ending="KILL"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0,
        )
        answer = self._ask("configure", port=self.port, tags=tags, **options)
        self.namespace = answer["namespace"]

    @property
    def url(self):
        return f"opc.tcp://127.0.0.1:{self.port}/counters"

    def node(self, name):
        return f"ns={self.namespace};s={name}"

    def well(self, name):
        """The well a tag belongs to in these tests: ten tags a well, ids that can be computed."""
        return uuid.uuid5(uuid.NAMESPACE_URL, f"well/{int(name[3:]) // 10}")

    def _ask(self, command, timeout=60, **arguments):
        line = json.dumps({"command": command} | arguments) + "\n"
        try:
            self.process.stdin.write(line.encode())
        except BrokenPipeError:
            raise AssertionError(f"the OPC UA server process is gone, see {self.errors.name}") from None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        assert ready, f"the OPC UA server process did not answer '{command}' within {timeout} s"
        answer = json.loads(self.process.stdout.readline() or '{"ok": false, "error": "ended"}')
        assert answer.pop("ok"), f"OPC UA server process: {command}: {answer['error']} (log: {self.errors.name})"
        return answer

    def write(self, rounds=None, interval=0.5, quiet=()):
        """Begins to write: every tag but the quiet ones once a round."""
        self._ask("write", rounds=rounds, interval=interval, quiet=list(quiet))

    def pause(self):
        return self._ask("pause")

    def status(self):
        return self._ask("status")

    def wait_until_written(self, timeout=120):
        """Until the rounds that `write` began are done; returns how many values were ever written."""
        def done():
            status = self.status()
            return not status["writing"] and status

        return eventually(done, "the OPC UA server has written its rounds", timeout)["recorded"]

    def stop_server(self):
        self._ask("stop_server")

    def start_server(self):
        self._ask("start_server")

    def add_node(self, name):
        self._ask("add_node", name=name)

    def remove_node(self, name):
        self._ask("remove_node", name=name)

    def freeze(self):
        """The process stands still; its sockets stay open. Nothing may be asked of it before thaw."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def record(self):
        """Everything ever written: a list of (tag, microseconds since 1970, value)."""
        path = self.folder / f"record-{self.port}.tsv"
        self._ask("dump", path=str(path))
        rows = (line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8"))
        return [(name, int(micros), float(value)) for name, micros, value in rows]

    def close(self):
        if self.process.poll() is None:
            self.thaw()
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self.process.stdout.close()
        self.errors.close()
