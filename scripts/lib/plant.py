"""A whole plant on this machine for scripts/bench: private PostgreSQL, simulated OPC UA servers, the daemon, and what each
of them uses. Everything listens on loopback and ends with its owner.
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "System"))

from private_postgres import PrivatePostgres, free_port, with_parent  # noqa: E402
from support.metrics import Scrape, get, quantile  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """A measurement that could not be made; the text says why."""


def free_ports(count):
    """The first of `count` consecutive loopback ports that are all free, and that free_port does not give out for long."""
    first = last = free_port()
    for _ in range(20 * count + 2_000):
        if last - first + 1 == count:
            return first
        port = free_port()
        if port != last + 1:
            first = port
        last = port
    raise Failure(f"no {count} free ports in a row")


def _stat(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2:].split()
    return int(fields[1]), fields


def cpu_seconds(pid):
    """User and system time of one process; 0 once it is gone."""
    try:
        _, fields = _stat(pid)
    except (OSError, ValueError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def family_cpu_seconds(pid):
    """A process, its children that live, and those it has waited for: a PostgreSQL server with all its backends."""
    total = 0.0
    for each in os.listdir("/proc"):
        if not each.isdigit():
            continue
        try:
            parent, fields = _stat(each)
        except (OSError, ValueError):
            continue
        if int(each) == pid or parent == pid:
            total += sum(int(field) for field in fields[11:15]) / TICKS
    return total


def resident_mib(pid, what="VmRSS"):
    """Resident memory, or with "VmHWM" the most it ever was, in MiB."""
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(what + ":")), 0.0)


@dataclasses.dataclass
class Mark:
    """What the plant had used and done at one moment."""

    time: float
    daemon: float
    simulator: float
    database: float
    scrape: Scrape


class Plant:
    """Tenants, their simulated servers, and one daemon, in a folder of their own."""

    def __init__(self, folder, binaries, server, name, *, tags, rate, servers=1, tenants=1, interval=500, threads=1,
                 environment=None, simulator=()):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.binaries, self.server, self.name = binaries, server, name
        self.tags, self.rate, self.servers, self.tenants = tags, rate, servers, tenants
        self.interval, self.threads, self.more = interval, threads, list(simulator)
        self.processes = {}
        self.opc = free_ports(servers)
        self.metrics, self.grpc, self.control = free_port(), free_port(), free_port()
        self.master = f"{name}_master"
        self.databases = [f"{name}_{number}" for number in range(tenants)]
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("GRPC_", "SCADA_"))
        } | {
            "JOURNAL_DIR": str(self.folder / "journal"),
            "OPC_PKI_DIR": str(self.folder / "pki"),
            "AGGREGATION_BUFFER_MS": "1000",
            "LOG_FORMAT": "json",
            "METRICS_HOST": "127.0.0.1",
            "METRICS_PORT": str(self.metrics),
            "GRPC_PORT": str(self.grpc),
        } | (environment or {})

    # Starting and ending

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in list(self.processes):
            self.end(program)

    def prepare(self):
        """The schemas, and a tenant for each share of the servers."""
        self.environment["DATABASE_URL"] = self.server.create_database(self.master)
        self.run("scada-ingestion", "migrate", "--master-only")
        seed = self.run("scada-simulator", *self.simulator_arguments(), "--seed-sql", "--publishing-interval",
                        str(self.interval))
        for number, database in enumerate(self.databases):
            url = self.server.create_database(database)
            self.server.psql(
                "INSERT INTO tenants (id, slug, name, database_url) VALUES"
                f" ('{self.tenant(number)}', '{database}', '{database}', '{url}')", self.master,
            )
        self.run("scada-ingestion", "migrate", "--all-tenants")
        if self.tenants == 1:
            self.server.psql(seed, self.databases[0])
        else:
            self.deal(seed)
        return self

    def deal(self, seed):
        """One of the simulated servers to each tenant."""
        raise Failure("more than one tenant is dealt by the measurement itself")

    @staticmethod
    def tenant(number):
        return f"b0000000-0000-4000-8000-{number:012d}"

    def simulator_arguments(self):
        return ["--wells", str(self.tags // 10), "--rate", str(self.rate), "--port", str(self.opc), "--servers",
                str(self.servers), "--threads", str(self.threads), "--seed", "1", *self.more]

    def start(self, timeout=120):
        """Simulator, then daemon; returns when every tag is watched and the first rows are stored."""
        self.start_simulator()
        self.start_daemon()
        self.until(lambda: (self.scrape().total("scada_readings_stored_total") or 0) > 0, "rows are stored", timeout)
        return self

    def start_simulator(self):
        self.spawn("scada-simulator", *self.simulator_arguments(), "--quiet", "--control-port", str(self.control),
                   "--summary", str(self.folder / "summary.json"))
        self.until(lambda: self.answers(self.opc) and self.answers(self.control), "the simulator listens")

    def start_daemon(self, timeout=120):
        self.spawn("scada-ingestion", "serve")
        self.until(lambda: self.http("/readyz") == 200, "the daemon is ready", timeout)

    def run(self, program, *arguments):
        done = subprocess.run([self.binaries / program, *arguments], env=self.environment, capture_output=True, text=True,
                              check=False, stdin=subprocess.DEVNULL, cwd=self.folder)
        if done.returncode != 0:
            raise Failure(f"{program} {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def spawn(self, program, *arguments):
        with open(self.folder / f"{program}.log", "ab") as log:
            self.processes[program] = subprocess.Popen(
                with_parent(self.binaries / program, *arguments), env=self.environment, cwd=self.folder, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )

    def end(self, program, patience=60):
        process = self.processes.pop(program, None)
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        return process.returncode

    def must_live(self):
        for program, process in self.processes.items():
            if process.poll() is not None:
                raise Failure(f"{program} ended with exit code {process.returncode}; see {self.folder}/{program}.log")

    # Asking

    def until(self, check, what, timeout=60):
        deadline = time.monotonic() + timeout
        while not check():
            self.must_live()
            if time.monotonic() > deadline:
                raise Failure(f"not within {timeout} s: {what}; logs are in {self.folder}")
            time.sleep(0.05)

    @staticmethod
    def answers(port):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    def http(self, path):
        try:
            return get(f"http://127.0.0.1:{self.metrics}{path}", timeout=20)[0]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def http_text(self, path):
        return get(f"http://127.0.0.1:{self.metrics}{path}", timeout=20)[2]

    def url(self, number):
        return self.server.url(self.databases[number])

    def scrape(self):
        return Scrape(f"http://127.0.0.1:{self.metrics}")

    def ask_simulator(self, command):
        with socket.create_connection(("127.0.0.1", self.control), timeout=10) as connection:
            connection.sendall(command.encode() + b"\n")
            answer = connection.makefile("r", encoding="utf-8").readline().strip()
        if answer.startswith("error"):
            raise Failure(f"the simulator answered \"{answer}\" to \"{command}\"")
        return json.loads(answer) if answer.startswith("{") else answer

    def pid(self, program):
        return self.processes[program].pid

    def mark(self):
        scrape = self.scrape()
        return Mark(time.monotonic(), cpu_seconds(self.pid("scada-ingestion")), cpu_seconds(self.pid("scada-simulator")),
                    family_cpu_seconds(self.server.process.pid) if self.server.process else 0.0, scrape)

    def measure(self, seconds):
        """What happened between now and `seconds` later."""
        then = self.mark()
        peak = 0.0
        while time.monotonic() < then.time + seconds:
            self.must_live()
            peak = max(peak, resident_mib(self.pid("scada-ingestion")))
            time.sleep(0.25)
        return self.between(then, self.mark(), peak)

    def between(self, then, now, peak=0.0):
        span = now.time - then.time

        def grown(name):
            return (now.scrape.total(name) or 0) - (then.scrape.total(name) or 0)

        stored = grown("scada_readings_stored_total")
        delays = now.scrape.histogram("scada_ingest_delay_seconds", then.scrape)
        writes = now.scrape.histogram("scada_db_write_duration_seconds", then.scrape)
        million = max(stored, 1) / 1e6
        return {
            "seconds": round(span, 2),
            "stored": int(stored),
            "rate": stored / span,
            "ingested_rate": grown("scada_readings_ingested_total") / span,
            "backlog_growth": ((now.scrape.total("scada_backlog_readings") or 0)
                               - (then.scrape.total("scada_backlog_readings") or 0)),
            "daemon_us": (now.daemon - then.daemon) / million,
            "simulator_us": (now.simulator - then.simulator) / million,
            "database_us": (now.database - then.database) / million,
            "daemon_cores": (now.daemon - then.daemon) / span,
            "resident_mib": max(peak, resident_mib(self.pid("scada-ingestion"))),
            "delay_p50": quantile(0.50, delays), "delay_p95": quantile(0.95, delays), "delay_p99": quantile(0.99, delays),
            "write_p50": quantile(0.50, writes), "write_p95": quantile(0.95, writes),
        }
