"""The demo's conductor, run by scripts/demo: starts everything, shows what flows, compares at the end, cleans up."""
import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "System"))

import grpc  # noqa: E402
from private_postgres import PrivatePostgres, Unavailable, free_port, unprivileged_user, with_parent  # noqa: E402
from support.api import OriginalAPI  # noqa: E402
from support.metrics import Scrape, get  # noqa: E402

BINARIES = pathlib.Path(os.environ["SCADA_BINARY_DIR"])
TENANT = "d0000000-0000-4000-8000-000000000001"
SEED = "1"
RATES = {"normal": 500, "peak": 2_000, "stress": 10_000}


class Failure(Exception):
    """Ends the demo with this line and exit code 1."""


class Interrupted(Exception):
    """Ctrl-C, or a signal to end."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def port(preferred):
    """The usual port when nobody has it."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", preferred))
            return preferred
        except OSError:
            return free_port()


def data_folder(fresh):
    """./data/demo, or a folder in /var/tmp when PostgreSQL's user cannot reach this checkout. Also the open file that keeps
    other demos away from it.
    """
    folder = ROOT / "data" / "demo"
    user = unprivileged_user()
    # A folder above that is closed to others (/root) closes all below it.
    if user and any(not each.stat().st_mode & 0o001 for each in (ROOT, *ROOT.parents)):
        folder = pathlib.Path("/var/tmp/scada-ingestion-demo")
        say(f"   user {user.pw_name} cannot reach {ROOT}: the demo's data is in {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = open(folder.with_suffix(".lock"), "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure(f"another demo runs on {folder}: end it first") from None
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    return folder, lock


class Demo:
    def __init__(self, options):
        self.options = options
        self.folder, self.lock = data_folder(options.fresh)
        self.processes = {}
        self.server = None
        self.tenant_url = None
        self.metrics = self.grpc = self.opc = None
        self.before = 0
        self.started_at = None
        self.elapsed = 0.0

    # Starting

    def run(self):
        say("== PostgreSQL")
        self.server = PrivatePostgres(self.folder / "postgres").start()
        say(f"   {self.server.flavour} on port {self.server.port}, in {self.server.folder}")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")} | {
            "DATABASE_URL": self.server.create_database("scada_master"),
            "JOURNAL_DIR": str(self.folder / "journal"),
            "OPC_PKI_DIR": str(self.folder / "pki"),
            "AGGREGATION_BUFFER_MS": "1000",
            "LOG_FORMAT": "json",
            "METRICS_HOST": "127.0.0.1",
        }
        self.migrate()
        self.start_simulator()
        self.start_daemon()
        try:
            self.watch()
        except Interrupted:
            # Without --seconds that is how the demo ends.
            if self.options.seconds:
                raise
        self.ask()
        return self.compare() if self.options.seconds else 0

    def migrate(self):
        say("== Schema and demo tenant")
        self.tenant_url = self.server.create_database("scada_demo")
        self.command("scada-ingestion", "migrate", "--master-only")
        # The port may be another one than at the last run.
        self.server.psql(
            f"INSERT INTO tenants (id, slug, name, database_url) VALUES ('{TENANT}', 'demo', 'Demo field',"
            f" '{self.tenant_url}') ON CONFLICT (id) DO UPDATE SET database_url = EXCLUDED.database_url",
            "scada_master",
        )
        self.command("scada-ingestion", "migrate", "--tenant", TENANT)

    def start_simulator(self):
        self.opc = port(4840)
        simulator = ["--profile", self.options.profile, "--port", str(self.opc), "--seed", SEED]
        seed = self.command("scada-simulator", *simulator, "--seed-sql", quiet=True)
        # The wells of another profile's run go, those of this one come (back).
        self.server.psql(
            "UPDATE scada_connections SET deleted_at = now() WHERE deleted_at IS NULL;\n"
            "UPDATE tag_mappings SET deleted_at = now() WHERE deleted_at IS NULL;\n" + seed,
            "scada_demo",
        )
        self.before = self.stored_rows()
        self.summary = self.folder / "simulator-summary.json"
        self.summary.unlink(missing_ok=True)
        say(f"== Simulator, profile {self.options.profile}: opc.tcp://127.0.0.1:{self.opc}")
        self.spawn("scada-simulator", *simulator, "--quiet", "--summary", str(self.summary))
        self.until(lambda: self.answers(self.opc), "the simulator listens")

    def start_daemon(self):
        self.metrics, self.grpc = port(9090), port(50051)
        say(f"== Daemon: its page is http://127.0.0.1:{self.metrics}/, its API on port {self.grpc}, its log in {self.folder}")
        self.environment |= {"METRICS_PORT": str(self.metrics), "GRPC_PORT": str(self.grpc)}
        self.spawn("scada-ingestion", "serve")
        self.until(lambda: self.http("/readyz") == 200, "the daemon is ready")
        self.started_at = time.monotonic()

    # Processes

    def command(self, program, *arguments, quiet=False):
        done = subprocess.run(
            [BINARIES / program, *arguments], env=self.environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, cwd=self.folder,
        )
        if done.returncode != 0:
            raise Failure(f"{program} {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        if not quiet:
            say("   " + done.stdout.strip().replace("\n", "\n   "))
        return done.stdout

    def spawn(self, program, *arguments):
        """In a session of its own: Ctrl-C reaches this program only, which then ends the others in order."""
        log = self.folder / f"{program}.log"
        with open(log, "wb") as file:
            self.processes[program] = subprocess.Popen(
                with_parent(BINARIES / program, *arguments), env=self.environment, cwd=self.folder, stdout=file,
                stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
            )

    def must_live(self):
        for program, process in self.processes.items():
            if process.poll() is not None:
                log = self.folder / f"{program}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise Failure(f"{program} ended with exit code {process.returncode}; the end of {log}:\n{tail}")

    def end(self, program, patience=40):
        """SIGTERM, then waits; returns the exit code, None when it did not run."""
        process = self.processes.pop(program, None)
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                say(f"   {program} did not end within {patience} s: killed")
                process.kill()
                process.wait(10)
        return process.returncode

    def close(self):
        for program in ("scada-ingestion", "scada-simulator"):
            self.end(program)
        if self.server:
            self.server.stop()

    # Asking

    def until(self, check, what, timeout=60):
        deadline = time.monotonic() + timeout
        while not check():
            self.must_live()
            if time.monotonic() > deadline:
                raise Failure(f"not within {timeout} s: {what}; logs are in {self.folder}")
            time.sleep(0.05)

    @staticmethod
    def answers(number):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=1):
            return True
        return False

    def http(self, path):
        try:
            return get(f"http://127.0.0.1:{self.metrics}{path}", timeout=5)[0]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def scrape(self):
        return Scrape(f"http://127.0.0.1:{self.metrics}")

    def stored_rows(self):
        return int(self.server.psql("SELECT count(*) FROM scada_readings", "scada_demo"))

    @staticmethod
    def percentile(scrape, before, share):
        """A quantile of the delays observed between two scrapes: the upper bound of the bucket it falls into."""
        observed = sorted(scrape.histogram("scada_ingest_delay_seconds", before).items())
        if not observed or not observed[-1][1]:
            return None
        return next(bound for bound, count in observed if count >= share * observed[-1][1])

    def watch(self):
        """The live line, each second, until the time is over or Ctrl-C."""
        print("seconds   readings/s in   readings/s stored   backlog   delay p95", flush=True)
        last, last_time = None, None
        start = tick = time.monotonic()
        while True:
            self.must_live()
            now, scrape = time.monotonic(), self.scrape()
            stored = scrape.total("scada_readings_stored_total", tenant_id=TENANT) or 0
            if last:
                span = now - last_time

                def rate(name):
                    return ((scrape.total(name) or 0) - (last.total(name) or 0)) / span

                delay = self.percentile(scrape, last, 0.95)
                print(
                    f"{now - start:7.0f} {rate('scada_readings_ingested_total'):15,.0f}"
                    f" {rate('scada_readings_stored_total'):19,.0f}"
                    f" {scrape.total('scada_backlog_readings') or 0:9,.0f}"
                    f" {f'≤ {delay:g} s' if delay is not None else '–':>11}",
                    flush=True,
                )
            last, last_time = scrape, now
            if not stored and now - start > 60:
                raise Failure(f"nothing was stored within 60 s; logs are in {self.folder}")
            if self.options.seconds and now - start >= self.options.seconds:
                return
            # After a pause of the machine goes on from now, instead of making up for the seconds it missed.
            tick = max(tick + 1, now)
            time.sleep(max(0.0, tick - time.monotonic()))

    def ask(self):
        """One question to the management API, as the platform would ask it."""
        well = self.server.psql(
            "SELECT well_id FROM tag_mappings WHERE deleted_at IS NULL ORDER BY well_id LIMIT 1", "scada_demo"
        )
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            now = int(time.time())
            rows = OriginalAPI(channel).QueryReadings(
                tenant_id=TENANT, well_id=well, start_time=now - 3600, end_time=now + 60
            ).readings
        print(f"\nQueryReadings of well {well}, the last hour: {len(rows):,} readings; the newest:")
        for row in rows[:5]:
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(row.timestamp))
            print(f"  {stamp} UTC  {row.tag_node_id:40} {row.value:12.2f}  {row.quality}")
        sys.stdout.flush()

    def compare(self):
        """Stops the daemon in order, then the simulator: what it published and what is stored must be equal."""
        # The rate counts from when the daemon is ready until it is told to stop.
        self.elapsed = time.monotonic() - self.started_at
        code = self.end("scada-ingestion")
        if code != 0:
            raise Failure(f"the daemon ended with exit code {code}; its log is in {self.folder}")
        simulator = self.end("scada-simulator")
        if simulator != 0 or not self.summary.exists():
            raise Failure(f"the simulator ended with exit code {simulator} and left no {self.summary}")
        figures = json.loads(self.summary.read_text())
        stored = self.stored_rows() - self.before
        rate, wanted = stored / self.elapsed, RATES[self.options.profile]
        print(f"\nsimulator: published {figures['published']:,}, acknowledged {figures['acknowledged']:,},"
              f" dropped {figures['dropped']:,}")
        print(f"database:  stored {stored:,} in {self.elapsed:.1f} s = {rate:,.0f} readings/s")
        if stored != figures["acknowledged"]:
            raise Failure(f"{stored:,} readings are stored, {figures['acknowledged']:,} were acknowledged")
        if rate < wanted:
            raise Failure(f"{rate:,.0f} readings/s were stored, {wanted:,} were expected")
        print("every acknowledged reading is stored", flush=True)
        return 0


def interrupt(*_):
    # Only once: the end that follows must not be interrupted in its turn.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--profile", choices=RATES, default="normal")
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupt)
    demo = None
    try:
        demo = Demo(options)
        return demo.run()
    except (Failure, Unavailable, RuntimeError, grpc.RpcError) as error:
        say(f"error: {error}")
        return 1
    except Interrupted:
        return 130
    finally:
        if demo:
            demo.close()


if __name__ == "__main__":
    sys.exit(main())
