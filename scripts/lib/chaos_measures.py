"""Measurements beside scripts/chaos: what one tenant's dead database costs the others, how a long outage passes, a thousand
small tenants over twenty database connections. Figures, not tests: each prints what was wanted beside it. One, two and three
replicas are in chaos_scaling.py.
"""
import itertools
import pathlib
import subprocess
import time

import chaos_scaling
from private_postgres import free_port, with_parent
from support import pgbouncer
from support.metrics import quantile
from support.paths import SIMULATOR
from support.tenancy import connect

DELAY = "scada_ingest_delay_seconds"


def say_row(what, wanted, measured):
    print(f"| {what:<62} | {wanted:>16} | {measured:>24} |", flush=True)


def delay(share, now, before=None, **labels):
    """The delay in seconds that `share` of the readings stored between two scrapes did not exceed."""
    found = quantile(share, now.histogram(DELAY, before, **labels))
    return float("nan") if found is None else found


def isolation(field, seconds):
    """p95 of the delay of two tenants, before and while the third's database does not answer."""
    dead, others = field.tenants[-1], field.tenants[:-1]

    def p95():
        before = field.daemon.scrape()
        pause(field, seconds)
        now = field.daemon.scrape()
        return [delay(0.95, now, before, tenant_id=each.tenant.id) for each in others]

    pause(field, 10)
    well = p95()
    field.note("the database of tenant 3 does not answer")
    dead.to_database.freeze()
    frozen = p95()
    dead.to_database.thaw()
    dead.to_database.cut()
    field.note("the database of tenant 3 refuses")
    dead.to_database.refuse()
    dead.to_database.cut()
    refused = p95()
    dead.to_database.accept()
    say_row("p95 of the delay, seconds", "wanted", "tenants 1 and 2")
    say_row("all databases well", "", ", ".join(f"{each:.2f}" for each in well))
    for what, measured in (("that of tenant 3 silent", frozen), ("that of tenant 3 refusing", refused)):
        say_row(what, "≤ 1.2 ×", ", ".join(f"{now:.2f} ({now / then:.2f} ×)" for now, then in zip(measured, well)))
    return all(now <= 1.2 * then for now, then in zip((*frozen, *refused), (*well, *well)))


def outage(field, seconds):
    """PostgreSQL stopped for so long: the daemon's memory, how fast the backlog goes, and the delay after."""
    pause(field, 20)
    idle, start = field.peak, time.monotonic()
    field.server.stop()
    pause(field, seconds)
    grown = field.daemon.scrape().total("scada_backlog_readings")
    took = time.monotonic() - start
    during = field.peak
    field.note(f"{grown:,.0f} readings wait")
    field.peak = 0
    field.server.start()
    begun, stored, rate = time.monotonic(), None, grown / took
    while True:
        field.watch()
        scrape = field.daemon.scrape()
        backlog = scrape.total("scada_backlog_readings") or 0
        if stored is None and backlog < grown * 0.99:
            begun, stored, first = time.monotonic(), scrape.total("scada_readings_stored_total"), backlog
        if backlog < 2 * rate:
            break
        if time.monotonic() - begun > 600:
            raise AssertionError("the backlog does not go")
        time.sleep(0.2)
    span = max(time.monotonic() - begun, 0.2)
    drained = ((first if stored is not None else grown) - backlog) / span
    peak_draining = field.peak
    pause(field, 5)
    before = field.daemon.scrape()
    pause(field, 20)
    late = delay(0.95, field.daemon.scrape(), before)
    say_row(f"PostgreSQL away for {took:.0f} s at {field.options.rate:,.0f}/s", "wanted", "measured")
    say_row("resident before / away / draining, MB", "< 96", f"{idle / 1e6:.0f} / {during / 1e6:.0f} / {peak_draining / 1e6:.0f}")
    say_row("backlog grew by / went by, readings/s", "≥ 5 ×", f"{rate:,.0f} / {drained:,.0f} = {drained / rate:.1f} ×")
    say_row("p95 of the delay after, seconds", "< 2", f"{late:.2f}")
    return during < 96e6 and peak_draining < 96e6 and drained >= 5 * rate and late < 2


def pause(field, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        field.watch()
        time.sleep(0.1)


def tenants(field, seconds):
    """So many tenants with ten tags at one value a second each, over 20 connections, through PgBouncer where it is here."""
    server, platform, folder, count = field.server, field.platform, field.folder, field.options.tenants
    field.note(f"making {count:,} databases")
    bouncer = None
    if pgbouncer.executable():
        (folder / "pgbouncer").mkdir()
        bouncer = pgbouncer.PgBouncer(folder / "pgbouncer", server, pool=1, total=1)
    port = bouncer.port if bouncer else server.port
    template = platform.add_tenant("template")
    template.close()
    platform.execute("DELETE FROM tenants")
    base = first_free_range(count)
    arguments = ["--wells", count, "--servers", count, "--rate", 10 * count, "--seed", field.options.seed, "--counters",
                 "--port", base, "--threads", 1, "--tick", 200, "--publishing-interval", 1000]
    log = folder / "simulator.log"
    sql = subprocess.run([str(each) for each in (SIMULATOR, *arguments, "--seed-sql")], check=True, capture_output=True,
                         text=True).stdout
    name = template.url.rsplit("/", 1)[1]
    connection_rows, tag_rows = split_seed(sql)
    # The rows are the same for all but for their ids; the copying of 1,000 databases is what takes long.
    with connect(server.url()) as administrator:
        for number in range(count):
            administrator.execute(f"CREATE DATABASE small_{number} TEMPLATE {name}")
    with platform.master() as master:
        for number, (connection, tags) in enumerate(zip(connection_rows, tag_rows)):
            with connect(server.url(f"small_{number}")) as tenant:
                tenant.execute(connection)
                tenant.execute(tags)
            master.execute(
                "INSERT INTO tenants (id, slug, name, database_url) VALUES (gen_random_uuid(), %s, %s, %s)",
                (f"small-{number}", f"Small {number}", server.url(f"small_{number}").replace(f":{server.port}/", f":{port}/")),
            )
    simulator = subprocess.Popen(
        with_parent(SIMULATOR, *arguments, "--quiet", ending="KILL"), stdin=subprocess.DEVNULL,
        stdout=open(log, "wb"), stderr=subprocess.STDOUT, start_new_session=True,
    )
    try:
        field.add_replica(
            folder / "journal", is_alone=True, DB_MAX_CONNECTIONS=20, AGGREGATION_BUFFER_MS=5000, CONFIG_POLL_MS=300_000,
            OPC_RECONNECT_DELAY_MS=1000, OPC_SESSION_TIMEOUT_MS=None,
        )
        began = time.monotonic()
        field.start_daemon()

        def connected():
            try:
                return (field.daemon.scrape().total("scada_active_connections") or 0) >= count
            except (OSError, AssertionError):
                return False

        # Each look is at a thousand tenants' figures.
        field.until(connected, "all connections are there", 300, every=2)
        field.note(f"all {count:,} connections after {time.monotonic() - began:.0f} s")
        pause(field, 30)
        before, counted = field.daemon.scrape(), cpu(field.daemon.process.pid)
        field.peak, start = 0, time.monotonic()
        pause(field, seconds)
        now, span = field.daemon.scrape(), time.monotonic() - start

        def rate(metric):
            return ((now.total(metric) or 0) - (before.total(metric) or 0)) / span

        late = delay(0.95, now, before)
        syncs = rate("scada_journal_sync_seconds_count")
        say_row(f"{count:,} tenants × 10 tags at 1/s over 20 connections, "
                + ("PgBouncer" if bouncer else "no PgBouncer"), "wanted", "measured")
        say_row("readings stored a second", f"{10 * count:,}", f"{rate('scada_readings_stored_total'):,.0f}")
        say_row("p95 of the delay, seconds", "≤ 15", f"{late:.1f}")
        say_row("journal syncs a second", "≤ 50", f"{syncs:.1f}")
        say_row("resident, MB", "≤ 256", f"{field.peak / 1e6:.0f}")
        say_row("processor, of one core", "", f"{100 * (cpu(field.daemon.process.pid) - counted) / span:.0f} %")
        jobs = rate("scada_db_jobs_total")
        say_row("connections to databases opened a second", "", f"{rate('scada_db_connects_total'):.1f}")
        say_row("jobs of the pool a second, and their wait, seconds", "",
                f"{jobs:.1f}, {rate('scada_db_wait_seconds_total') / max(jobs, 1e-9):.2f}")
        return late <= 15 and syncs <= 50 and field.peak <= 256e6
    finally:
        simulator.terminate()
        simulator.wait(20)
        field.stop_daemon()
        if bouncer:
            bouncer.stop()


def cpu(process):
    """Seconds of processor time."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def first_free_range(count):
    """A port with as many free ones after it: below those that the kernel gives out."""
    for base in itertools.count(20_000, 1_000):
        if base + count > 32_000:
            return free_port()
        used = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
        taken = {int(line.split()[1].split(":")[1], 16) for line in used}
        if not any(base <= each < base + count for each in taken):
            return base


def split_seed(sql):
    """The simulator's SQL, which is of one tenant, as statements for one tenant a connection."""
    connections, tags = [], {}
    for statement in sql.split(";\n"):
        text = statement.strip()
        if "INSERT INTO scada_connections" in text:
            connections.append(text[text.index("INSERT"):])
        elif "INSERT INTO tag_mappings" in text:
            text = text[text.index("INSERT"):]
            head, rest = text.split("VALUES\n", 1)
            rows, tail = rest.split("\nON CONFLICT", 1)
            for row in rows.split("\n"):
                key = row.split("'")[3]
                tags.setdefault(key, (head, [], tail))[1].append(row.rstrip(","))
    ordered = []
    for each in connections:
        head, rows, tail = tags[each.split("VALUES ('", 1)[1].split("'", 1)[0]]
        ordered.append(f"{head}VALUES\n" + ",\n".join(rows) + f"\nON CONFLICT{tail}")
    return connections, ordered


# By name: what measures, how many tenants it wants to find running (0: it makes its own), readings a second over all of them
# (for each replica, where there are several), and minutes.
MEASURES = {
    "isolation": (isolation, 3, 3_000, 1), "outage": (outage, 1, 10_000, 10), "tenants": (tenants, 0, 10_000, 1),
    "replicas": (chaos_scaling.replicas, 0, 30_000, 1.5),
}
