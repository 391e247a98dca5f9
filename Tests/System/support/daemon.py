"""The built daemon as a process: started, waited for, asked, stopped or killed."""
import base64
import json
import os
import signal
import subprocess
import urllib.error

import grpc

from .api import FullAPI, OriginalAPI
from .metrics import Scrape, get
from .paths import DAEMON
from .wait import eventually

from private_postgres import free_port, with_parent

# Made for these tests; the tests look for it in the logs.
ENCRYPTION_KEY = base64.b64encode(b"system tests: never a real key!!").decode()
START_TIMEOUT = 60


def clean_environment(**variables):
    """This process' environment without any setting of the daemon, and with those given; None leaves one out."""
    ours = {"DATABASE_URL", "DB_", "OPC_", "AGGREGATION_", "MAX_BUFFER", "METRICS_", "GRPC_", "JOURNAL_", "ENCRYPTION_",
            "CONFIG_", "SHUTDOWN_", "REPLICA_", "LEASE_", "LOG_", "STORAGE_", "STATUS_"}
    environment = {key: value for key, value in os.environ.items() if not key.startswith(tuple(ours))}
    return environment | {key: str(value) for key, value in variables.items() if value is not None}


def run(*arguments, timeout=60, input=None, **variables):
    """Runs one command of the daemon's executable to its end. Returns the finished process with its output as text."""
    return subprocess.run(
        [DAEMON, *arguments], env=clean_environment(**variables), capture_output=True, text=True, timeout=timeout,
        check=False, input=input, stdin=None if input is not None else subprocess.DEVNULL,
    )


class Daemon:
    """One `scada-ingestion serve`. Its folder (journal, PKI, log) outlives it: make a new Daemon there to restart."""

    running = []  # those of the present test, for the report of a failure

    def __init__(self, folder, database_url, **variables):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.variables = {
            "DATABASE_URL": database_url,
            "METRICS_PORT": free_port(),
            "METRICS_HOST": "127.0.0.1",
            "GRPC_PORT": free_port(),
            "JOURNAL_DIR": folder / "journal",
            "OPC_PKI_DIR": folder / "pki",
            "ENCRYPTION_KEY": ENCRYPTION_KEY,
            "AGGREGATION_BUFFER_MS": 500,
            "OPC_RECONNECT_DELAY_MS": 250,
            # After that many failures the delay is a minute at once, which no test wants to wait for.
            "OPC_MAX_RECONNECT_ATTEMPTS": 1000,
            "CONFIG_POLL_MS": 1000,
            # Tests put rows of 1970 into tables; the first upkeep, whenever it comes, dropped those at the default of two years.
            "STORAGE_RETENTION_DAYS": 36_500,
            "LOG_FORMAT": "json",
            "LOG_LEVEL": os.environ.get("SCADA_TEST_LOG_LEVEL", "info"),
        } | variables
        self.log = folder / "daemon.log"
        self.process = None
        self._channel = None
        Daemon.running.append(self)

    # Life

    def start(self, ready=True, **variables):
        """Starts it; waits until /readyz answers 200 unless told not to."""
        self.variables |= variables
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                with_parent(DAEMON, "serve", ending="KILL"), env=clean_environment(**self.variables), cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        if ready:
            self.wait_until_ready()
        return self

    def must_live(self):
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}:\n{self.log_tail()}"

    def wait_until_ready(self, timeout=START_TIMEOUT):
        def ready():
            status, text = self.http("/readyz")
            assert status == 200, f"/readyz: {status} {text}"
            return True

        eventually(ready, "the daemon is ready", timeout, watch=self.must_live)

    def wait_for_end(self, timeout=60):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon does not end:\n{self.log_tail()}") from None
        finally:
            self._forget_channel()

    def terminate(self, timeout=60):
        """SIGTERM, as an orchestrator sends it; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_for_end(timeout)

    def kill(self):
        """SIGKILL: as good as a power failure for the process."""
        self.process.kill()
        self.wait_for_end()

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        self._forget_channel()

    # Asking

    @property
    def http_base(self):
        return f"http://127.0.0.1:{self.variables['METRICS_PORT']}"

    def http(self, path, accept=None):
        """(status, body); status None while nothing answers."""
        try:
            status, _, text = get(self.http_base + path, accept)
            return status, text
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            return None, str(error)

    def scrape(self, accept=None):
        return Scrape(self.http_base, accept)

    @property
    def channel(self):
        if self._channel is None:
            self._channel = grpc.insecure_channel(f"127.0.0.1:{self.variables['GRPC_PORT']}")
        return self._channel

    def _forget_channel(self):
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    @property
    def api(self):
        return FullAPI(self.channel)

    @property
    def original_api(self):
        return OriginalAPI(self.channel)

    # Log

    def log_text(self):
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self, lines=60):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_lines(self):
        """Every line as an object; a line that is no JSON object is an error."""
        lines = []
        for line in self.log_text().splitlines():
            try:
                entry = json.loads(line)
                assert isinstance(entry, dict)
            except (ValueError, AssertionError):
                raise AssertionError(f"not a JSON object in the log: {line!r}") from None
            lines.append(entry)
        return lines
