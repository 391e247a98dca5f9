"""Broken connections: every kind of break, what it may cost, and what must not be lost or stored twice.

Against scada-simulator, whose tags count, and which can be dropped, frozen and restarted. The sizes are small by default;
with SCADA_FULL=1 they are those that README reports.
"""
import datetime
import json
import os
import random
import statistics
import time

import pytest

from support.wait import eventually

FULL = os.environ.get("SCADA_FULL") == "1"


def register(tenant, simulator, queue=None, interval=250, **columns):
    """The simulator's wells as the tenant's connections."""
    tenant.sql.execute(simulator.seed_sql("--publishing-interval", interval))
    if queue:
        tenant.sql.execute("UPDATE tag_mappings SET queue_size = %s", [queue])
    for column, value in columns.items():
        tenant.sql.execute(f"UPDATE scada_connections SET {column} = %s", [value])


def through(tenant, proxy):
    tenant.sql.execute(
        "UPDATE scada_connections SET endpoint_url = %s", [f"opc.tcp://127.0.0.1:{proxy.port}"]
    )


def counters(tenant):
    """What is stored of each tag, in the order of its timestamps."""
    rows = tenant.sql.execute(
        "SELECT tag_node_id, array_agg(value::bigint ORDER BY timestamp, value) FROM scada_readings GROUP BY 1"
    ).fetchall()
    return dict(rows)


def missing(values):
    """The counter values between the first and the last that are not there; doubled or disordered ones are an error."""
    assert values == sorted(set(values)), f"doubled or out of order: {values[:20]} …"
    return sorted(set(range(values[0], values[-1] + 1)) - set(values))


def assert_complete(tenant):
    holes = {tag: missing(values) for tag, values in counters(tenant).items()}
    holes = {tag: hole for tag, hole in holes.items() if hole}
    assert not holes, f"missing {sum(map(len, holes.values()))}, for example {list(holes.items())[:2]}; {tenant.holes()}"


def wait_until_acknowledged_is_stored(tenant, daemon, simulator):
    """What the server was told to be safe is in the journal at that moment, and in the table soon after."""
    acknowledged = {tag: each["acknowledged"] for tag, each in simulator.ask("stats tags")["tag_counts"].items()}

    def stored():
        last = {tag: values[-1] for tag, values in counters(tenant).items()}
        behind = {tag: count for tag, count in acknowledged.items() if last.get(f"ns=2;s={tag}", 0) < count}
        assert not behind, f"{len(behind)} tags are behind what was acknowledged, for example {list(behind.items())[:3]}"
        return True

    eventually(stored, "what was acknowledged is stored", watch=daemon.must_live)


def reconnects(daemon):
    return daemon.scrape().total("scada_reconnects_total") or 0


def times(daemon, message):
    """Seconds of the day of each log line that says this."""
    stamps = []
    for line in daemon.log_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("message") == message:
            clock = entry["timestamp"].split("T")[1].rstrip("Z").split(":")
            stamps.append(int(clock[0]) * 3600 + int(clock[1]) * 60 + float(clock[2]))
    return stamps


def outages_of(daemon):
    """How long the connection was away each time; cut again before it stood, it is still the same outage."""
    events = [(at, False) for at in times(daemon, "connection lost")] + [(at, True) for at in times(daemon, "connected")]
    found, since = [], None
    for at, stands in sorted(events):
        if not stands:
            since = at if since is None else since
        elif since is not None:
            found.append(at - since)
            since = None
    return found


@pytest.mark.timeout(600 if FULL else 240)
def test_cut_at_random_moments_nothing_that_was_queued_is_lost(
    tenant, daemon, make_simulator, make_proxy, record_property
):
    cuts, seconds, rate = (50, 120, 2000) if FULL else (8, 12, 500)
    seed = int(os.environ.get("SCADA_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    simulator = make_simulator("--counters", wells=rate // 10, rate=rate)
    proxy = make_proxy(simulator.port)
    register(tenant, simulator, queue=1000)
    through(tenant, proxy)
    daemon.start()
    tenant.wait_for_count(rate, watch=daemon.must_live)
    before = reconnects(daemon)
    moments = sorted(chance.uniform(0, seconds) for _ in range(cuts))
    start = time.monotonic()
    for moment in moments:
        time.sleep(max(0.0, start + moment - time.monotonic()))
        proxy.cut()
    eventually(
        lambda: reconnects(daemon) > before and times(daemon, "connected")[-1] > times(daemon, "connection lost")[-1],
        "the connection stands again", watch=daemon.must_live,
    )
    stored = tenant.count()
    tenant.wait_for_count(stored + rate, watch=daemon.must_live)
    wait_until_acknowledged_is_stored(tenant, daemon, simulator)
    assert_complete(tenant)
    outages = outages_of(daemon)
    record_property("reconnects", len(outages))
    record_property("longest_outage_seconds", round(max(outages), 3))
    print(f"{len(outages)} reconnects, median {statistics.median(outages):.3f} s, longest {max(outages):.3f} s")


def test_a_frozen_server_is_noticed_and_goes_on_after_its_thaw(tenant, daemon, make_simulator, record_property):
    simulator = make_simulator("--counters", wells=5, rate=50)
    register(tenant, simulator, queue=10_000)
    daemon.start()
    tenant.wait_for_count(100, watch=daemon.must_live)
    simulator.ask("freeze")
    frozen = time.monotonic()
    # A keep-alive is due every 10 s of silence: two of them missing, and a second.
    eventually(lambda: times(daemon, "connection lost"), "the silence is noticed", 60, watch=daemon.must_live)
    noticed = time.monotonic() - frozen
    simulator.ask("thaw")
    thawed = time.monotonic()
    stored = tenant.count()
    tenant.wait_for_count(stored + 50, watch=daemon.must_live)
    resumed = time.monotonic() - thawed
    assert_complete(tenant)
    record_property("noticed_seconds", round(noticed, 2))
    record_property("resumed_seconds", round(resumed, 2))
    print(f"noticed after {noticed:.1f} s, data again {resumed:.2f} s after the thaw")


def test_a_restarted_server_with_history_leaves_no_hole(tenant, daemon, make_simulator):
    simulator = make_simulator("--counters", "--history", 10, wells=5, rate=100)
    register(tenant, simulator)
    daemon.start()
    tenant.wait_for_count(200, watch=daemon.must_live)
    simulator.ask("restart 3000")

    def healed():
        rows = tenant.sql.execute(
            "SELECT cause, readings_recovered FROM scada_gaps WHERE healed_at IS NOT NULL"
        ).fetchall()
        assert rows, tenant.holes()
        return rows

    gaps = eventually(healed, "the hole is filled from history", 60, watch=daemon.must_live)
    stored = tenant.count()
    tenant.wait_for_count(stored + 100, watch=daemon.must_live)
    assert_complete(tenant)
    assert [cause for cause, _ in gaps] == ["subscription_lost"]
    # Three seconds of a hundred values, and what was queued and not fetched.
    assert gaps[0][1] >= 200, gaps
    assert daemon.scrape().total("scada_gaps_total", cause="subscription_lost") == 1


def test_a_restarted_server_without_history_leaves_a_gap_with_honest_bounds(tenant, daemon, make_simulator):
    simulator = make_simulator("--counters", wells=5, rate=100)
    register(tenant, simulator)
    daemon.start()
    tenant.wait_for_count(200, watch=daemon.must_live)
    simulator.ask("restart 3000")
    gap = eventually(lambda: tenant.gaps(), "the hole is recorded", 60, watch=daemon.must_live)
    stored = tenant.count()
    tenant.wait_for_count(stored + 100, watch=daemon.must_live)
    assert len(tenant.gaps()) == 1 and gap[0][0] == "subscription_lost" and gap[0][5] is None
    start, end = gap[0][2], gap[0][3]
    lost = 0
    for tag, values in counters(tenant).items():
        hole = missing(values)
        lost += len(hole)
        if not hole:
            continue
        assert hole == list(range(hole[0], hole[-1] + 1)), f"{tag} has more than one hole: {hole}"
        before, after = tenant.sql.execute(
            "SELECT max(timestamp) FILTER (WHERE value < %s), min(timestamp) FILTER (WHERE value > %s) FROM scada_readings"
            " WHERE tag_node_id = %s", (hole[0], hole[-1], tag),
        ).fetchone()
        # Two values a second of each tag: so far from those around them lie the first and the last that are missing.
        step = datetime.timedelta(seconds=0.5)
        assert start <= before + step and after - step <= end, f"{tag} lacks {hole} between {before} and {after}: {start} to {end}"
    assert lost > 100


@pytest.mark.parametrize("limit", [None, 100])
def test_many_items_on_one_connection(tenant, daemon, make_simulator, limit, record_property):
    wells = 1000 if FULL else 100
    simulator = make_simulator("--counters", wells=wells, rate=wells)
    if limit:
        simulator.ask("announce-limits off")
        simulator.ask(f"limit items {limit}")
    register(tenant, simulator)
    daemon.start()
    eventually(
        lambda: len(counters(tenant)) == wells * 10, "every tag has a value", 120, watch=daemon.must_live
    )
    assert simulator.ask("stats")["monitored_items"] == wells * 10
    seen = [line for line in map(json.loads, daemon.log_text().splitlines()) if "items" in line.get("message", "")]
    record_property("log", json.dumps(seen)[:2000])
    # After a break the limit is known: nothing is refused a second time.
    refused = daemon.log_text().count("CreateMonitoredItems refused")
    simulator.ask("restart 0")
    eventually(
        lambda: simulator.ask("stats")["monitored_items"] == wells * 10, "every tag is watched again",
        60, watch=daemon.must_live,
    )
    assert daemon.log_text().count("CreateMonitoredItems refused") == refused
    assert (refused > 0) == bool(limit)


@pytest.mark.timeout(1200 if FULL else 240)
def test_reconnecting_does_not_cost_memory(tenant, daemon, make_simulator, record_property):
    rounds, warm = (1000, 100) if FULL else (60, 30)
    simulator = make_simulator("--counters", wells=20, rate=200)
    register(tenant, simulator, queue=1000)
    daemon.start()
    tenant.wait_for_count(200, watch=daemon.must_live)

    def resident():
        with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))

    def reconnect(count):
        for _ in range(count):
            before = reconnects(daemon)
            simulator.ask("drop")
            eventually(lambda: reconnects(daemon) > before, "it is connected again", watch=daemon.must_live)

    reconnect(warm)
    first = resident()
    reconnect(rounds)
    # Whatever has to be flushed and freed is.
    stored = tenant.count()
    tenant.wait_for_count(stored + 400, watch=daemon.must_live)
    last = resident()
    record_property("resident_mib", [round(first, 1), round(last, 1)])
    print(f"{rounds} reconnects: {first:.1f} MiB before, {last:.1f} MiB after")
    assert last - first <= 2, f"{first:.1f} MiB before, {last:.1f} MiB after {rounds} reconnects"
    assert_complete(tenant)
