"""The measurements of scripts/bench, which tells what they are for."""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import bench_python
from plant import Failure, Plant, family_cpu_seconds, resident_mib
from private_postgres import PLAIN, PrivatePostgres, Unavailable

import grpc
import psycopg
from support.api import FullAPI

BINARIES = pathlib.Path(os.environ["SCADA_BINARY_DIR"])
LIB = pathlib.Path(__file__).resolve().parent
SETTINGS = {"max_wal_size": "8GB", "shared_buffers": "1GB", "max_connections": "200"}
# The raw limit is measured with as many wells and tags as the daemon then has.
TAGS, WELLS = 10_000, 1_000
# The orders in which the index and a columnstore want rows, in runs as long as the daemon's.
BY_TAG = "n / 100000, well_id, tag_node_id, timestamp"
NEWEST_FIRST = "n / 200000, well_id, tag_node_id, timestamp DESC"
DIRECT_COMPRESS = "timescaledb.enable_direct_compress_copy"


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, options, folder, server):
        self.options, self.folder, self.server = options, folder, server
        self.rows = []
        self.raw = None
        self.python_us = None

    def seconds(self, whole, quick):
        return quick if self.options.quick else whole

    def plant(self, name, **more):
        return Plant(self.folder, BINARIES, self.server, name, **more)

    def add(self, name, what, **figures):
        row = {"name": name, "what": what} | figures
        if self.raw and "rate" in figures:
            row["of_raw"] = figures["rate"] / self.raw
        if self.python_us and figures.get("daemon_us"):
            row["of_python"] = self.python_us / figures["daemon_us"]
        self.rows.append(row)
        say("   " + ", ".join(f"{key} {short(value)}" for key, value in row.items() if key not in ("name", "what")))

    def forget(self, plant):
        """Room for the next measurement."""
        for database in [*plant.databases, plant.master]:
            self.server.psql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        shutil.rmtree(plant.folder, ignore_errors=True)

    @contextlib.contextmanager
    def running(self, name, settle=5, **more):
        """A plant that has been storing for a while."""
        with self.plant(name, **more) as plant:
            plant.prepare().start()
            time.sleep(settle)
            yield plant
        self.forget(plant)

    # The measurements, in the order in which they run

    def measure_raw(self):
        """What COPY alone takes: the same rows into the same table, in the order of their arrival and sorted."""
        rows = self.seconds(2_000_000, 500_000)
        name = "bench_raw"
        environment = dict(os.environ) | {"DATABASE_URL": self.server.create_database(name)}
        url = self.server.create_database(name + "_tenant")
        subprocess.run([BINARIES / "scada-ingestion", "migrate", "--master-only"], env=environment, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.server.psql(
            f"INSERT INTO tenants (id, slug, name, database_url) VALUES (gen_random_uuid(), 'raw', 'raw', '{url}')", name
        )
        subprocess.run([BINARIES / "scada-ingestion", "migrate", "--all-tenants"], env=environment, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        columns = "well_id, tag_node_id, timestamp, value, quality, status_code, value_text"
        with psycopg.connect(url, autocommit=True) as connection:
            # One row of every tag a tick, as they arrive.
            connection.execute(
                f"""
                CREATE UNLOGGED TABLE source AS
                SELECT md5('well' || (n % {WELLS}))::uuid AS well_id, 'ns=2;s=Well-' || (n % {WELLS}) || '.Tag' || (n / {WELLS} % 10)
                    AS tag_node_id, date_trunc('hour', now()) + n / {TAGS} * interval '50 ms' AS timestamp,
                    random() * 100 AS value, 'Good'::text AS quality, NULL::bigint AS status_code, NULL::text AS value_text, n
                FROM generate_series(0, {rows - 1}) AS n
                """
            )
            runs = [("arrival", "n", ""), ("sorted", BY_TAG, "")]
            if DIRECT_COMPRESS in self.settings(connection):
                runs.append(("compressed", NEWEST_FIRST, f"SET {DIRECT_COMPRESS} = on"))
            for order, by, setup in runs:
                chunks = []
                with connection.cursor().copy(
                    f"COPY (SELECT {columns} FROM source ORDER BY {by}) TO STDOUT (FORMAT binary)"
                ) as copy:
                    chunks.extend(bytes(chunk) for chunk in copy)
                # A message for each row would measure Python.
                chunks = [b"".join(chunks[at:at + 2_000]) for at in range(0, len(chunks), 2_000)]
                connection.execute("TRUNCATE scada_readings")
                if setup:
                    connection.execute(setup)
                connection.execute("CHECKPOINT")
                before, begun = family_cpu_seconds(self.server.process.pid), time.monotonic()
                with connection.cursor().copy(f"COPY scada_readings ({columns}) FROM STDIN (FORMAT binary)") as copy:
                    for chunk in chunks:
                        copy.write(chunk)
                span = time.monotonic() - begun
                used = family_cpu_seconds(self.server.process.pid) - before
                if order == "arrival":
                    self.raw = rows / span
                what = "raw COPY, sorted, direct compress" if setup else f"raw COPY, {order} order"
                self.add(f"raw_{order}", what, rate=rows / span, database_us=used / rows * 1e6)
        for database in (name, name + "_tenant"):
            self.server.psql(f'DROP DATABASE "{database}" WITH (FORCE)')

    @staticmethod
    def settings(connection):
        return {name for name, in connection.execute("SELECT name FROM pg_settings").fetchall()}

    def measure_idle(self):
        """A daemon with nothing to do but watch ten tags, once what starting needed has been given back."""
        with self.running("idle", settle=20, tags=10, rate=1) as plant:
            self.add("idle", "idle: ten tags, a reading a second", resident_mib=resident_mib(plant.pid("scada-ingestion")))

    def measure_python(self):
        """asyncua's client and asyncpg's COPY, as such services are usually written."""
        rate = 20_000
        with self.plant("python", tags=TAGS, rate=rate) as plant:
            plant.prepare()
            plant.start_simulator()
            figures = bench_python.run(plant.url(0), f"opc.tcp://127.0.0.1:{plant.opc}", self.seconds(20, 8))
        self.forget(plant)
        self.python_us = figures["daemon_us"]
        self.add("python", f"asyncua → asyncpg, {rate:,}/s offered", **figures)

    def measure_slow(self):
        with self.running("slow", tags=TAGS, rate=10_000) as plant:
            self.add("d10k", "10,000/s, 10,000 tags, one connection", **plant.measure(self.seconds(60, 20)))

    def measure_fast(self):
        with self.running("fast", tags=TAGS, rate=200_000) as plant:
            self.add("d200k", "200,000/s, 10,000 tags, one connection", **plant.measure(self.seconds(20, 10)))

    def measure_most(self):
        """The highest rate at which the backlog does not grow."""
        best, rate = None, 200_000
        while rate <= 1_500_000:
            with self.running("most", settle=4, tags=TAGS, rate=rate) as plant:
                figures = plant.measure(self.seconds(12, 6))
            say(f"   offered {rate:,}: stored {figures['rate']:,.0f}/s, backlog {figures['backlog_growth']:+,.0f}")
            if figures["rate"] < 0.97 * rate:
                # What was stored of more than can be is what can be.
                if best is None or figures["rate"] > best["rate"]:
                    best = figures
                break
            best = figures
            rate = int(rate * 1.3)
        self.add("most", "the highest rate, 10,000 tags, one connection", **best)

    def measure_compress(self):
        """The highest rate when batches go straight to the columnstore."""
        with psycopg.connect(self.server.url("postgres")) as connection:
            if "timescaledb" not in {name for name, in connection.execute("SELECT name FROM pg_available_extensions")}:
                say("   without TimescaleDB there is no direct compress")
                return
        environment = {"STORAGE_DIRECT_COMPRESS": "on", "MAX_BUFFER_SIZE": "200000"}
        with self.running("compress", settle=6, tags=TAGS, rate=700_000, environment=environment) as plant:
            self.add("compress", "direct compress, 700,000/s offered", **plant.measure(self.seconds(20, 8)))

    def measure_fleet(self):
        # More than the 250,000 that are to be stored: what is offered is not always published in full.
        with self.running("fleet", tags=50_000, rate=260_000, servers=50) as plant:
            self.add("fleet", "260,000/s, 50 servers × 1,000 tags", **plant.measure(self.seconds(20, 8)))

    @staticmethod
    def connections(count):
        return "1 connection" if count == 1 else f"{count:,} connections"

    def measure_growth(self):
        """The same readings over ever more connections: with each published twice a second, so that there are ever more and
        smaller messages; and with the same messages, so that only the connections are more. The servers publish in turns, as
        servers do that know nothing of each other: when all do at once, an event loop takes their messages in one go."""
        def turns(connections):
            return ["--turns", "--tick", "10" if connections <= 100 else "50"]

        for connections in (1, 10, 100, 1000):
            # A subscription has 5,000 tags at most.
            messages = 2 * max(connections, TAGS // 5_000)
            with self.running(
                f"growth{connections}", tags=TAGS, rate=50_000, servers=connections, simulator=turns(connections),
            ) as plant:
                self.add(
                    f"growth_{connections}",
                    f"50,000/s on {self.connections(connections)}, each published every 500 ms: {messages:,} messages/s",
                    **plant.measure(self.seconds(14, 6)),
                )
        for connections, interval in ((1, 20), (10, 100), (100, 1_000), (1000, 10_000)):
            # Whole publishing intervals, and not the first.
            settle, span = (14, 20) if interval > 5_000 else (5, 12)
            with self.running(
                f"messages{connections}", settle, tags=TAGS, rate=50_000, servers=connections, interval=interval,
                simulator=turns(connections),
            ) as plant:
                self.add(
                    f"messages_{connections}", f"50,000/s on {self.connections(connections)}, 100 messages/s in all",
                    **plant.measure(self.seconds(span, span)),
                )

    def measure_start(self):
        """100,000 tags on 100 connections: until all are watched; then /metrics with a series for each."""
        with self.plant("start", tags=100_000, rate=20_000, servers=100, interval=1000) as plant:
            plant.prepare()
            plant.start_simulator()
            begun = time.monotonic()
            plant.start_daemon()
            plant.until(lambda: plant.ask_simulator("stats")["monitored_items"] == 100_000, "all tags are watched", 120)
            span = time.monotonic() - begun
            time.sleep(10)
            scrapes = []
            for _ in range(5):
                before = time.monotonic()
                series = plant.http_text("/metrics").count("scada_readings_ingested_total{")
                scrapes.append(time.monotonic() - before)
            self.add(
                "start", "100,000 tags on 100 connections: start until all are watched", start_seconds=span,
                metrics_ms=statistics.median(scrapes) * 1000, metrics_series=series,
                resident_mib=resident_mib(plant.pid("scada-ingestion")),
            )
        self.forget(plant)

    def measure_query(self):
        """10,000 readings by QueryReadings and by psql, turn by turn."""
        # Published so often that no item's queue overflows at 200 values a second.
        with self.running("query", settle=0, tags=100, rate=20_000, interval=50) as plant:
            plant.until(lambda: plant.scrape().total("scada_readings_stored_total") > 120_000, "there are readings", 180)
            well = self.server.psql("SELECT well_id FROM tag_mappings LIMIT 1", plant.databases[0])
            sql = (
                "SELECT well_id, tag_node_id, timestamp, value, quality, status_code, value_text FROM scada_readings WHERE"
                f" well_id = '{well}' ORDER BY timestamp DESC, tag_node_id DESC LIMIT 10000"
            )
            ours, theirs = [], []
            end = int(time.time()) + 60
            with grpc.insecure_channel(
                f"127.0.0.1:{plant.grpc}", options=[("grpc.max_receive_message_length", 64 << 20)]
            ) as channel:
                api = FullAPI(channel)
                for _ in range(11):
                    begun = time.monotonic()
                    page = api.QueryReadings(tenant_id=plant.tenant(0), well_id=well, start_time=end - 3600, end_time=end)
                    ours.append(time.monotonic() - begun)
                    assert len(page.readings) == 10_000, len(page.readings)
                    theirs.append(self.server.time_psql(sql, plant.databases[0]))
            ours, theirs = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
            self.add("query", "QueryReadings of 10,000 readings, against psql", query_ms=ours, psql_ms=theirs,
                     of_psql=ours / theirs)

    def measure_chaos(self, what):
        """A measurement of scripts/chaos, whose rows it prints itself."""
        done = subprocess.run(
            [sys.executable, LIB / "chaos.py", "--measure", what, *(["--plain"] if self.options.plain else [])],
            env=dict(os.environ), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )
        rows = [
            [cell.strip() for cell in line.strip("|\n ").split("|")] for line in done.stdout.splitlines() if line.startswith("|")
        ]
        if not rows:
            raise Failure(f"scripts/chaos --measure {what} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        for row in rows:
            say("   " + " | ".join(row))
        self.rows.append({"name": what, "what": rows[0][0], "rows": rows})

    def measure_outage(self):
        self.measure_chaos("outage")

    def measure_tenants(self):
        self.measure_chaos("tenants")


MEASUREMENTS = [
    "raw", "python", "idle", "slow", "fast", "most", "compress", "fleet", "growth", "start", "query", "outage", "tenants",
]
QUICK = ["raw", "python", "slow", "fast", "fleet", "query"]


def short(value):
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


# Key, heading, form and factor of each column of the table.
COLUMNS = [
    ("what", "", "{}", None), ("rate", "stored/s", "{:,.0f}", 1), ("of_raw", "× raw COPY", "{:.2f}", 1),
    ("daemon_us", "daemon µs", "{:.2f}", 1), ("simulator_us", "simulator µs", "{:.2f}", 1),
    ("database_us", "database µs", "{:.2f}", 1), ("resident_mib", "MiB", "{:.0f}", 1),
    ("delay_p50", "delay p50 s", "{:.2f}", 1), ("delay_p95", "p95", "{:.2f}", 1), ("delay_p99", "p99", "{:.2f}", 1),
    ("write_p50", "write p50 ms", "{:.0f}", 1000), ("write_p95", "p95 ms", "{:.0f}", 1000),
    ("of_python", "Python ÷ daemon", "{:.0f}", 1),
]


def cell(row, key, form, factor):
    value = row.get(key)
    return "" if value is None else form.format(value if factor is None else value * factor)


def table(rows, markdown):
    plain = [row for row in rows if "rate" in row]
    cells = [[head for _, head, _, _ in COLUMNS]] + [
        [cell(row, key, form, factor) for key, _, form, factor in COLUMNS] for row in plain
    ]
    widths = [max(len(row[index]) for row in cells) for index in range(len(COLUMNS))]
    for number, row in enumerate(cells):
        line = [cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(zip(row, widths))]
        print(("| " + " | ".join(line) + " |") if markdown else "  ".join(line))
        if number == 0:
            print("|" + "---|" * len(COLUMNS) if markdown else "  ".join("-" * width for width in widths))
    for row in rows:
        if "rate" not in row and "rows" not in row:
            print(f"{row['what']}: " + ", ".join(
                f"{key.replace('_', ' ')} {short(value)}" for key, value in row.items() if key not in ("name", "what")
            ))
        for each in row.get("rows", []):
            print("| " + " | ".join(each) + " |")


def machine():
    model = next(
        (line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    return f"{os.cpu_count()} processors ({model}), {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"


def interrupt(*_):
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser()
    for flag in ("--quick", "--markdown", "--plain", "--list"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    options = parser.parse_args()
    wanted = [each for each in options.only.split(",") if each] or (QUICK if options.quick else MEASUREMENTS)
    if unknown := set(wanted) - set(MEASUREMENTS):
        say(f"error: there is no measurement {', '.join(sorted(unknown))}; --list names them")
        return 64
    if options.list:
        print("\n".join(MEASUREMENTS))
        return 0
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupt)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="scada-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    failed = []
    try:
        with PrivatePostgres(folder / "postgres", PLAIN if options.plain else None, settings=SETTINGS) as server:
            bench = Bench(options, folder, server)
            flavour = server.psql("SHOW server_version").split()[0]
            heading = (
                f"{machine()}; PostgreSQL {flavour} ({server.flavour}); {datetime.date.today()};"
                f" load before {os.getloadavg()[0]:.1f}"
            )
            say(heading)
            for each in wanted:
                say(f"== {each}")
                try:
                    getattr(bench, f"measure_{each}")()
                except (Failure, AssertionError, RuntimeError, grpc.RpcError, psycopg.Error) as error:
                    say(f"   failed: {error}")
                    failed.append(each)
        print(heading)
        table(bench.rows, options.markdown)
        if options.json:
            text = json.dumps({"machine": heading, "rows": bench.rows, "failed": failed}, indent=1)
            pathlib.Path(options.json).write_text(text + "\n", encoding="utf-8")
    except Unavailable as error:
        say(f"error: {error}")
        return 69
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failed:
        say(f"error: not measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
