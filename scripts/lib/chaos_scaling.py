"""Of scripts/chaos: what one, two and three replicas store, each with as many connections and readings as the others, each
tenant in a database of its own. What a reading costs shall not grow with the number of replicas. Figures, not tests: only
readings that are missing or doubled fail it, and what cannot be measured.
"""
import collections
import dataclasses
import time

from plant import cpu_seconds, family_cpu_seconds
from support.metrics import quantile

REPLICAS = 3
# Of each tenant, one OPC UA server each: leases are for connections.
CONNECTIONS = 4
DELAY = "scada_ingest_delay_seconds"
# So long nothing may change before a measurement begins: two renewals of the leases at least.
CALM = 8
# The daemon's own, not those of the other runs. The configuration is read every 30 s: a measurement takes as long, or a multiple.
DEFAULTS = {"LEASE_MS": None, "CONFIG_POLL_MS": None}


@dataclasses.dataclass
class Figures:
    """What all replicas have done and used, in seconds of processor time, since their start."""

    time: float
    stored: float
    daemons: float
    database: float
    simulators: float
    delays: dict

    def __sub__(self, before):
        delays = {bound: count - before.delays.get(bound, 0) for bound, count in self.delays.items()}
        return Figures(
            self.time - before.time, self.stored - before.stored, self.daemons - before.daemons, self.database - before.database,
            self.simulators - before.simulators, delays,
        )

    def row(self, count, base):
        """`base`: of one replica, a second and then a reading."""
        rate, cost = self.stored / self.time, 1e6 / max(self.stored, 1)
        late = quantile(0.95, self.delays)
        cores = (self.daemons + self.database + self.simulators) / self.time
        base_rate, base_cost = base or (rate, self.daemons * cost)
        return [
            f"{count}", f"{rate:,.0f}", f"{rate / (count * base_rate):.2f}", f"{self.daemons * cost:.2f}",
            f"{self.daemons * cost / base_cost:.2f}", f"{self.database * cost:.2f}", f"{self.simulators * cost:.2f}",
            "–" if late is None else f"{late:.2f}", f"{cores:.2f}",
        ]


HEADS = ["replicas", "stored/s", "of linear", "daemons, µs a reading", "of one's", "database, µs", "simulators, µs",
         "delay p95, s", "cores in use"]


def replicas(field, seconds):
    rows, base, held = [], None, []
    for number in range(REPLICAS):
        # The new replica reads of the tenant as it starts, and has least to do: the connections are its.
        tenant = field.add_tenant(number, field.options.rate, servers=CONNECTIONS)
        field.add_replica(field.folder / "journal", is_alone=False, is_direct=True, **DEFAULTS).start()
        field.note(f"{number + 1} of each")
        field.until(lambda: field.has_begun(tenant), "the first value of every tag is stored", 60)
        await_calm(field)
        owners = leases(field)
        before = figures(field)
        end = time.monotonic() + seconds / REPLICAS
        while time.monotonic() < end:
            field.watch()
            time.sleep(0.1)
        done = figures(field) - before
        if leases(field) != owners:
            raise AssertionError("connections were handed over during the measurement")
        base = base or (done.stored / done.time, 1e6 * done.daemons / max(done.stored, 1))
        rows.append(done.row(number + 1, base))
        held.append(shares(owners))
        field.note(", ".join(f"{head}: {cell}" for head, cell in zip(HEADS, rows[-1])))
    missing, doubled, stored = count_all(field)
    print()
    for row in (HEADS, ["--:"] * len(HEADS), *rows):
        print("| " + " | ".join(row) + " |")
    print()
    for number, share in enumerate(held, 1):
        print(f"{number}: " + "; ".join(
            f"{owner} has {connections} connections with {tags:,} tags" for owner, (connections, tags) in sorted(share.items())))
    print(f"resident, each: {field.peak / 1e6:.0f} MB at most; {stored:,} readings stored in all,"
          f" {missing:,} missing, {doubled:,} doubled", flush=True)
    if missing or doubled:
        raise AssertionError("readings are missing or doubled")
    return True


def figures(field):
    scrapes = [each.daemon.scrape() for each in field.replicas]
    delays = collections.Counter()
    for scrape in scrapes:
        delays.update(scrape.histogram(DELAY))
    return Figures(
        time.monotonic(), sum(each.total("scada_readings_stored_total") or 0 for each in scrapes),
        sum(cpu_seconds(each.process.pid) for each in field.replicas), family_cpu_seconds(field.server.process.pid),
        sum(cpu_seconds(each.simulator.process.pid) for each in field.tenants), dict(delays),
    )


def leases(field):
    """Live ones: connection → (owner, tags)."""
    with field.platform.master() as master:
        return {connection: (owner, tags) for connection, owner, tags in master.execute(
            "SELECT connection_id, owner, tags FROM connection_leases WHERE expires_at > now()")}


def shares(owners):
    """owner → (connections, tags)"""
    found = {}
    for owner, tags in owners.values():
        connections, all_tags = found.get(owner, (0, 0))
        found[owner] = connections + 1, all_tags + tags
    return found


def are_balanced(owners, names, connections):
    """Each has its part, and the loads are the same to a tenth."""
    found = shares(owners)
    loads = [tags for _, tags in found.values()]
    return set(found) == set(names) and len(owners) == connections and max(loads) - min(loads) <= max(loads) / 10


def await_calm(field):
    """Until every connection runs, they are shared equally, every replica knows every tenant, and for a while nothing was
    handed over and no flush was compared with what others may have stored.
    """
    names = [each.name for each in field.replicas]
    wanted = sum(each.connections for each in field.tenants)
    state = {"seen": None, "since": time.monotonic()}

    def look():
        owners = leases(field)
        scrapes = [each.daemon.scrape() for each in field.replicas]
        # One poll of the configuration later all know of the new tenant; the first values of its connections are checked.
        seen = owners, [
            [scrape.total(name) or 0 for name in ("scada_active_connections", "scada_lease_handovers_total",
                                                  "scada_lease_takeovers_total", "scada_checked_flushes_total")]
            + [tenants_known(scrape)] for scrape in scrapes
        ]
        is_right = (
            are_balanced(owners, names, wanted) and sum(each[0] for each in seen[1]) == wanted
            and all(each[-1] == len(field.tenants) for each in seen[1])
        )
        if not is_right or seen != state["seen"]:
            state.update(seen=seen, since=time.monotonic())
        return time.monotonic() - state["since"] >= CALM

    field.until(look, "the connections are shared equally, and nothing is handed over or checked any more", 120)


def tenants_known(scrape):
    return len({each.labels["tenant_id"] for each in scrape.samples if each.name == "scada_readings_stored_total"})


def count_all(field):
    """(missing, doubled, stored) of all that the simulators published, after the end of the replicas."""
    published = [
        {f"ns=2;s={tag}": each["published"] for tag, each in tenant.simulator.command("stats tags")["tag_counts"].items()}
        for tenant in field.tenants
    ]

    def is_stored():
        return all(
            tenant.sql.execute("SELECT count(*) FROM (SELECT tag_node_id, max(value) AS newest FROM scada_readings"
                               " WHERE \"timestamp\" > now() - interval '1 minute' GROUP BY 1) AS tags JOIN unnest(%s::text[],"
                               " %s::float8[]) AS goals (tag, goal) ON tag = tag_node_id AND newest >= goal",
                               [list(goals), list(goals.values())]).fetchone()[0] == len(goals)
            for tenant, goals in zip(field.tenants, published)
        )

    field.until(is_stored, "what was published is stored", 60)
    field.stop_daemon()
    sums = [0, 0, 0]
    for tenant, goals in zip(field.tenants, published):
        counts = {tag: rest for tag, *rest in tenant.sql.execute(
            "SELECT tag_node_id, min(value)::bigint, max(value)::bigint, count(*), count(DISTINCT value) FROM scada_readings"
            " GROUP BY 1")}
        sums = [each + more for each, more in zip(sums, compare(goals, counts))]
    return sums


def compare(published, counts):
    """(missing, doubled, stored). `published`: tag → last number; `counts`: tag → (first, last, rows, distinct numbers)."""
    missing = doubled = stored = 0
    for tag, goal in published.items():
        first, last, rows, distinct = counts.get(tag, (1, 0, 0, 0))
        missing += max(last, goal) - first + 1 - distinct
        doubled += rows - distinct
        stored += rows
    return missing, doubled, stored
