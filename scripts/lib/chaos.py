"""The conductor of scripts/chaos, which tells what it is for: starts everything, lets the faults strike, compares."""
import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "System"))
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import psycopg  # noqa: E402
from plant import free_ports  # noqa: E402
from private_postgres import PLAIN, PrivatePostgres, Unavailable, free_port, with_parent  # noqa: E402
from support import pgbouncer  # noqa: E402
from support.paths import SIMULATOR  # noqa: E402
from support.proxy import Proxy  # noqa: E402
from support.tenancy import Platform  # noqa: E402

import subprocess  # noqa: E402

import chaos_schedule  # noqa: E402
from chaos_faults import Faults, JournalDisk  # noqa: E402
from chaos_measures import MEASURES  # noqa: E402
from chaos_replicas import LEASE_MS, Replica  # noqa: E402
from chaos_verdict import judge_tenant  # noqa: E402

TAGS_PER_WELL = 10
# Updates of each tag a second.
TAG_RATE = 5
# How long the end waits for what is under way.
PATIENCE = 180


class Failure(Exception):
    """Ends the run with this text and exit code 1."""


class Interrupted(Exception):
    """Ctrl-C, or a signal to end."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Simulator:
    """A scada-simulator whose tags count, with its control port."""

    def __init__(self, folder, name, wells, rate, seed, history, servers=1):
        self.port, self.control = free_ports(servers), free_port()
        self.arguments = [
            "--wells", wells, "--rate", rate, "--seed", seed, "--counters", "--port", self.port, "--history", history,
            "--servers", servers,
        ]
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                with_parent(SIMULATOR, *self.arguments, "--control-port", self.control, "--quiet", ending="KILL"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        self.connection = None

    def seed_sql(self):
        return subprocess.run(
            [str(each) for each in (SIMULATOR, *self.arguments, "--seed-sql")], check=True, capture_output=True, text=True,
        ).stdout

    def command(self, line):
        """Sends one command; returns the answer, an object where it is JSON."""
        deadline = time.monotonic() + 30
        while self.connection is None:
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.control), timeout=60).makefile("rw")
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Failure(f"the simulator does not answer ({error}); its log: {self.log}") from None
                time.sleep(0.05)
        self.connection.write(line + "\n")
        self.connection.flush()
        answer = self.connection.readline().strip()
        if not answer or answer.startswith("error"):
            raise Failure(f"the simulator answered {answer!r} to {line!r}")
        return json.loads(answer) if answer.startswith("{") else answer

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class ChaosTenant:
    """A tenant with its database and one OPC UA server, each behind a proxy that can misbehave; or, `servers` being given, so
    many plain ones with nothing in between.
    """

    # What the servers of the tenants can do for a client that was away: one queues for minutes, one keeps history,
    # one has nothing. (queue size of an item, minutes of history)
    SERVERS = (("long queues", 5000, 0), ("history", None, 60), ("neither", None, 0))

    def __init__(self, field, number, rate, seed, servers=None):
        self.name, queue, history = ("plain", None, 0) if servers else self.SERVERS[number % len(self.SERVERS)]
        self.label = f"{number + 1} ({self.name})"
        wells = max(1, round(rate / TAG_RATE / TAGS_PER_WELL))
        self.interval = wells * TAGS_PER_WELL / rate
        self.connections = servers or 1
        self.simulator = Simulator(field.folder, f"simulator-{number + 1}", wells, rate, seed, history, self.connections)
        self.tenant = field.platform.add_tenant(f"tenant-{number + 1}")
        self.database = self.tenant.url.rsplit("/", 1)[1]
        self.tags = wells * TAGS_PER_WELL
        self.tenant.sql.execute(self.simulator.seed_sql())
        if queue:
            self.tenant.sql.execute(f"UPDATE tag_mappings SET queue_size = {queue}")
        self.proxies = ()
        if servers:
            return
        self.to_database, self.to_server = self.proxies = Proxy(field.server.port), Proxy(self.simulator.port)
        self.tenant.sql.execute(
            f"UPDATE scada_connections SET endpoint_url = 'opc.tcp://127.0.0.1:{self.to_server.port}'"
        )
        field.platform.execute(
            "UPDATE tenants SET database_url = %s WHERE id = %s",
            self.tenant.url.replace(f":{field.server.port}/", f":{self.to_database.port}/"), self.tenant.id,
        )

    @property
    def sql(self):
        return self.tenant.sql

    def close(self):
        self.tenant.close()

    def calm(self):
        """Undoes what a fault may have left at the proxies."""
        for proxy in self.proxies:
            proxy.delay = 0
            proxy.unmute()
            proxy.thaw()

    def end(self):
        self.close()
        self.simulator.close()
        for proxy in self.proxies:
            proxy.close()


class Field:
    """All that runs: PostgreSQL, the daemon or several replicas of it, the tenants."""

    def __init__(self, options, folder, note):
        self.options, self.folder, self.note = options, folder, note
        self.tenants, self.replicas, self.disk, self.platform, self.server = [], [], None, None, None
        self.peak = 0

    @property
    def daemon(self):
        return self.replicas[0].daemon if self.replicas else None

    def start_postgresql(self):
        say(f"== PostgreSQL, in {self.folder}")
        # Durable: a server that is killed must not forget what it said it had committed. Not so where none is killed and a
        # thousand databases have to be made.
        durable = self.options.measure != "tenants"
        # PgBouncer keeps a connection to every database.
        pooled = not durable and pgbouncer.executable()
        settings = {"max_connections": self.options.tenants + 100} if pooled else {}
        flavour = PLAIN if self.options.plain else None
        self.server = PrivatePostgres(self.folder / "postgres", flavour, durable, settings).start()
        self.platform = Platform(self.server)

    def start(self, count, small_disk=True):
        """So many tenants with a simulator each, and the daemon."""
        self.start_postgresql()
        replicas = self.options.replicas
        say(f"== {count} tenants with a simulator each, " + ("the daemon" if replicas == 1 else f"{replicas} replicas"))
        for number in range(count):
            self.add_tenant(number, self.options.rate / count)
        self.disk = JournalDisk(self.folder / "disk", small_disk, replicas)
        say(
            f"   {self.server.flavour}; {sum(each.tags for each in self.tenants):,} tags, {self.options.rate:,.0f} readings/s; "
            + (f"the journals have a disk of {self.disk.size >> 20} MiB" if self.disk.mounted
               else "the journals lie on the disk of the rest")
        )
        for _ in range(replicas):
            self.add_replica(self.disk.journals, is_alone=replicas == 1, JOURNAL_MAX_BYTES="64MiB" if small_disk else "4GiB")
        self.start_daemon()
        self.until(lambda: all(self.has_begun(each) for each in self.tenants), "the first value of every tag is stored", 120)

    def add_tenant(self, number, rate, **more):
        self.tenants.append(ChaosTenant(self, number, rate, self.options.seed + number, **more))
        return self.tenants[-1]

    def add_replica(self, journals, is_alone, **variables):
        """Not started yet."""
        name = "daemon" if is_alone else "abcdefghi"[len(self.replicas)]
        self.replicas.append(Replica(
            self.folder / name, name, self.platform.master_url, self.server.port,
            journals if is_alone else journals / name, is_alone,
            **{"AGGREGATION_BUFFER_MS": 1000, "OPC_SESSION_TIMEOUT_MS": 30000} | variables,
        ))
        return self.replicas[-1]

    def has_begun(self, tenant):
        return tenant.sql.execute("SELECT count(DISTINCT tag_node_id) FROM scada_readings").fetchone()[0] == tenant.tags

    def start_daemon(self, **variables):
        """All of them, where there are several; so with the others."""
        for each in self.replicas:
            each.start(**variables)

    def stop_daemon(self):
        for each in self.replicas:
            each.tell_to_end()
        for each in self.replicas:
            self.await_end(each)

    @staticmethod
    def await_end(replica):
        code = replica.daemon.wait_for_end()
        if code != 0:
            raise Failure(f"told to end, {replica.name} ended with exit code {code}:\n{replica.daemon.log_tail(20)}")

    def must_live(self):
        for each in self.replicas:
            if each.is_up and each.process.poll() is not None:
                raise Failure(
                    f"{each.name} ended by itself with exit code {each.process.returncode}:\n{each.daemon.log_tail(20)}"
                )
        for tenant in self.tenants:
            if tenant.simulator.process.poll() is not None:
                raise Failure(f"simulator {tenant.label} ended by itself: {tenant.simulator.log}")

    def watch(self):
        """Called often: notices deaths and the largest daemon's size."""
        self.must_live()
        self.peak = max([self.peak, *(resident(each.process.pid) for each in self.replicas if each.is_up)])

    def until(self, check, what, seconds, every=0.2):
        deadline = time.monotonic() + seconds
        while not check():
            self.watch()
            if time.monotonic() > deadline:
                raise Failure(f"not within {seconds} s: {what}")
            time.sleep(every)

    def progress(self):
        """(published, acknowledged, waiting or None)"""
        figures = [tenant.simulator.command("stats") for tenant in self.tenants]
        published, acknowledged = (sum(each[key] for each in figures) for key in ("published", "acknowledged"))
        return published, acknowledged, self.waiting()

    def waiting(self):
        """Readings in the journals of those that answer; None where none does."""
        try:
            found = [each.daemon.scrape().total("scada_backlog_readings") or 0 for each in self.replicas if each.answers]
        except (OSError, AssertionError):
            return None
        return sum(found) if found else None

    def close(self, keep):
        for each in self.replicas:
            each.close()
        for tenant in self.tenants:
            tenant.calm()
            tenant.end()
        if self.platform:
            self.platform.close()
        if self.server:
            self.server.stop()
        if self.disk:
            self.disk.close(self.folder / "journal-kept" if keep else None)


def resident(process):
    """Bytes."""
    try:
        for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return 0


class Chaos:
    def __init__(self, options, folder):
        self.options = options
        self.events = open(folder / "events.log", "w", encoding="utf-8")
        self.field = Field(options, folder, self.note)
        self.faults = Faults(self.field)
        self.struck = collections.Counter()

    def note(self, text):
        stamp = time.strftime("%H:%M:%S", time.gmtime())
        self.events.write(f"{time.time():.3f} {text}\n")
        self.events.flush()
        print(f"{stamp} {text}", flush=True)

    def measure(self):
        work, count, _, _ = MEASURES[self.options.measure]
        if count:
            self.field.start(count, small_disk=False)
        else:
            self.field.start_postgresql()
        return 0 if work(self.field, self.options.minutes * 60) else 2

    def run(self):
        if self.options.measure:
            return self.measure()
        seconds = self.options.minutes * 60
        events = planned(self.options)
        self.field.start(len(ChaosTenant.SERVERS))
        say(f"== {len(events)} events in {self.options.minutes:g} minutes, seed {self.options.seed}")
        start = time.monotonic()
        for tenant in self.field.tenants:
            self.faults.once_save_database(tenant)
        told = start
        for event in [*events, None]:
            due = start + (event.at if event else seconds)
            while time.monotonic() < due:
                self.field.watch()
                if time.monotonic() - told >= 10:
                    told = time.monotonic()
                    self.tell(told - start)
                time.sleep(max(0.0, min(0.2, due - time.monotonic())))
            if event is None:
                break
            if event.phase != "end":
                self.struck[event.kind] += 1
            self.note(str(event))
            try:
                self.faults.perform(event)
            except psycopg.OperationalError as error:
                # An administrator's session that met another fault; the fault did not happen, or only in part.
                self.note(f"{event.kind} failed: {str(error).splitlines()[0]}")
        return self.finish()

    def tell(self, elapsed):
        published, acknowledged, waiting = self.field.progress()
        waits = "–" if waiting is None else f"{waiting:,.0f}"
        print(
            f"{elapsed:6.0f} s   published {published:>11,}   acknowledged {acknowledged:>11,}   in the journals {waits:>9}"
            f"   daemon {self.field.peak >> 20} MB at most",
            flush=True,
        )

    # The end

    def finish(self):
        field = self.field
        self.note("calm")
        for replica in field.replicas:
            replica.calm()
        for tenant in field.tenants:
            tenant.calm()
            self.faults.end_drop_database(tenant)
        figures = {each: each.simulator.command("stats tags") for each in field.tenants}
        goals = {
            tenant: {self.node(tag): count["published"] for tag, count in figures[tenant]["tag_counts"].items()}
            for tenant in field.tenants
        }
        try:
            field.until(lambda: all(self.reached(each, goals[each]) for each in field.tenants),
                        "what was published is stored", PATIENCE)
        except Failure as failure:
            say(f"   {failure}")
        # What history can give it gives now, or it stays a gap.
        self.settle()
        if len(field.replicas) > 1:
            self.await_owners()
        field.stop_daemon()
        last = {each: each.simulator.command("stats tags") for each in field.tenants}
        return self.compare(figures, last)

    def await_owners(self):
        """Every connection has one live owner within two lease periods, and every replica has stored its journals."""
        def owned():
            with self.field.platform.master() as master:
                live = dict(master.execute(
                    "SELECT owner, count(*) FROM connection_leases WHERE expires_at > now() GROUP BY owner").fetchall())
            return sum(live.values()) == len(self.field.tenants)

        self.field.until(owned, "every connection has an owner", 2 * LEASE_MS / 1000)
        # The simulators publish on: a few seconds always wait.
        self.field.until(lambda: all(self.oldest(each) < 10 for each in self.field.replicas), "the journals are stored",
                         PATIENCE)

    @staticmethod
    def oldest(replica):
        try:
            return replica.daemon.scrape().total("scada_oldest_unstored_seconds") or 0
        except (OSError, AssertionError):
            return float("inf")

    @staticmethod
    def node(tag):
        return f"ns=2;s={tag}"

    @staticmethod
    def reached(tenant, goals):
        try:
            newest = dict(tenant.sql.execute("SELECT tag_node_id, max(value)::bigint FROM scada_readings GROUP BY 1"))
        except psycopg.OperationalError:
            tenant.close()
            return False
        return all(newest.get(tag, 0) >= goal for tag, goal in goals.items())

    def settle(self):
        """Until the number of healed gaps stands still."""
        def healed():
            return [each.sql.execute("SELECT count(*), count(healed_at) FROM scada_gaps").fetchone()
                    for each in self.field.tenants]

        deadline, last, still = time.monotonic() + 60, None, 0
        while still < 5 and time.monotonic() < deadline:
            self.field.watch()
            time.sleep(1)
            now = healed()
            still = still + 1 if now == last else 0
            last = now

    def compare(self, figures, last):
        say("== Comparison")
        rows, verdicts = [], []
        for tenant in self.field.tenants:
            counts = figures[tenant]["tag_counts"]
            verdict = judge_tenant(
                tenant.sql, self.node, {tag: each["published"] for tag, each in counts.items()},
                {tag: each["acknowledged"] for tag, each in last[tenant]["tag_counts"].items()},
                tenant.interval * 1e6,
            )
            verdicts.append((tenant, verdict))
            rows.append([
                tenant.label, last[tenant]["published"], last[tenant]["acknowledged"], verdict.expected, verdict.stored,
                verdict.missing, verdict.doubled, verdict.disordered, verdict.excused, verdict.recovered,
            ])
        rows.append(["all", *(sum(row[column] for row in rows) for column in range(1, len(rows[0])))])
        heads = ["tenant (server)", "published", "acknowledged", "values", "stored", "missing", "duplicated",
                 "out of order", "in gap rows", "from history"]
        table = [heads, *([row[0], *(f"{each:,}" for each in row[1:])] for row in rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
        print()
        for index, row in enumerate(table):
            print("| " + " | ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths))) + " |")
            if index == 0:
                print("|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":")
                                     for column, width in enumerate(widths)) + "|")
        print()
        for tenant, verdict in verdicts:
            causes = ", ".join(f"{cause} {count:,}" for cause, count in sorted(verdict.causes.items())) or "none"
            print(f"tenant {tenant.label}: in gap rows by cause: {causes}; gaps healed {verdict.healed:,}")
            if verdict.foreign or verdict.rejected or verdict.unacknowledged_but_claimed:
                print(f"   foreign rows {verdict.foreign:,}, rejected {verdict.rejected:,},"
                      f" acknowledged and not stored {verdict.unacknowledged_but_claimed:,}")
            skipped = last[tenant]["skipped"]
            if skipped:
                print(f"   the simulator left out {skipped:,} updates, being too slow: times between are estimates")
            for example in verdict.examples:
                print(f"   {example}")
        print("faults: " + ", ".join(f"{kind} {self.struck[kind]}" for kind in self.options.kinds if self.struck[kind]))
        starts = ", ".join(f"{each.name} {each.starts}" for each in self.field.replicas)
        print(f"started, times: {starts}; at most {self.field.peak / 1e6:.0f} MB resident", flush=True)
        return 0 if all(verdict.holds for _, verdict in verdicts) else 1


def interrupt(*_):
    # Only once: the end that follows must not be interrupted in its turn.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/chaos")
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rate", type=float, default=None)
    parser.add_argument("--measure", choices=MEASURES)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--replicas", type=int, choices=range(1, 10), default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1 << 31)
    rate, minutes = MEASURES[options.measure][2:] if options.measure else (3000, 10)
    options.rate, options.minutes = options.rate or rate, options.minutes or minutes
    # A thousand databases with TimescaleDB's workers are another question.
    options.plain = options.plain or options.measure == "tenants"
    known = chaos_schedule.KINDS + (chaos_schedule.REPLICA_KINDS if options.replicas > 1 else ())
    options.kinds = tuple(each for each in options.only.split(",") if each) or known
    unknown = set(options.kinds) - set(known)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if not 0.5 <= options.minutes <= 60 * 24 * 7 or not 30 <= options.rate <= 100_000:
        parser.error("--minutes has to be 0.5 to 10080, --rate 30 to 100000")
    return options


def planned(options):
    return chaos_schedule.schedule(
        options.seed, options.minutes * 60, len(ChaosTenant.SERVERS), options.kinds, options.replicas
    )


def main():
    options = arguments()
    if options.plan:
        for event in planned(options):
            print(f"{event.at:7.1f} s  {event}")
        return 0
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupt)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scada-chaos-"))
    # PostgreSQL runs as another user and has to come through.
    folder.chmod(0o711)
    chaos, code = Chaos(options, folder), 1
    try:
        code = chaos.run()
    except (Failure, Unavailable, RuntimeError, AssertionError, psycopg.Error) as error:
        say(f"error: {error}")
    except Interrupted:
        code = 130
    finally:
        keep = options.keep or code == 1
        chaos.field.close(keep)
        chaos.events.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    if code == 2:
        say("not all that was wanted was reached")
    elif code == 0 and not options.measure:
        print("nothing is missing, nothing is stored twice", flush=True)
    elif code == 1:
        only = f" --only {options.only}" if options.only else ""
        only += f" --measure {options.measure}" if options.measure else ""
        only += f" --replicas {options.replicas}" if options.replicas > 1 else ""
        say(f"FAILED. Logs, database and journals are in {folder}.\n"
            f"Again: scripts/chaos --minutes {options.minutes:g} --seed {options.seed} --rate {options.rate:g}{only}"
            + (" --plain" if options.plain else ""))
    if keep and code != 1:
        say(f"kept: {folder}")
    return code


if __name__ == "__main__":
    sys.exit(main())
