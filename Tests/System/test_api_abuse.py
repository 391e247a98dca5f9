"""Requests that are wrong in every way, too many of them, and given up: each gets a status, and the server goes on."""
import concurrent.futures
import os
import random
import socket
import threading
import time
import uuid

import grpc
import pytest

from support.api import fails_with
from support.tenancy import connect
from support.wait import eventually

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
METHODS = [
    "QueryReadings", "StreamReadings", "GetAggregatorStats", "AddConnection", "RemoveConnection", "HealthCheck",
    "ListConnections", "TestConnection", "BrowseNodes", "ListGaps",
]
FUZZED_SECONDS = float(os.environ.get("SCADA_FUZZ_SECONDS", 10))
CALLERS = int(os.environ.get("SCADA_API_CALLERS", 200))
CALLING_SECONDS = float(os.environ.get("SCADA_API_SECONDS", 6))
SQL = "'; DROP TABLE scada_readings; --"


@pytest.fixture
def running(daemon, tenant):
    return daemon.start()


def tag(**fields):
    return {"tag_id": str(uuid.uuid4()), "well_id": str(uuid.uuid4()), "node_id": "ns=2;s=A"} | fields


def connection(tenant, **fields):
    return {
        "connection_id": str(uuid.uuid4()), "tenant_id": tenant.id, "endpoint_url": "opc.tcp://127.0.0.1:9",
    } | fields


def bad_requests(tenant):
    """(method, fields, the field that the answer must name)."""
    well = str(uuid.uuid4())
    for value in ("", "x", well[:-1], well + "0", well.replace("-", ""), SQL, "\u0663" * 36):
        for method in ("QueryReadings", "StreamReadings", "GetAggregatorStats", "ListConnections", "ListGaps"):
            yield method, {"tenant_id": value, "well_id": well} if "Readings" in method else {"tenant_id": value}, "tenant_id"
        yield "QueryReadings", {"tenant_id": tenant.id, "well_id": value}, "well_id"
        yield "RemoveConnection", {"connection_id": value}, "connection_id"
        yield "AddConnection", connection(tenant, connection_id=value), "connection_id"
        yield "AddConnection", connection(tenant, tenant_id=value), "tenant_id"
        yield "AddConnection", connection(tenant, tags=[tag(tag_id=value)]), "tags[0].tag_id"
        yield "AddConnection", connection(tenant, tags=[tag(), tag(well_id=value)]), "tags[1].well_id"
        for method in ("TestConnection", "BrowseNodes"):
            yield method, {"tenant_id": value, "target": {"endpoint_url": "opc.tcp://127.0.0.1:9"}}, "tenant_id"
        if value:
            yield "ListConnections", {"tenant_id": tenant.id, "connection_id": value}, "connection_id"
            yield "ListGaps", {"tenant_id": tenant.id, "connection_id": value}, "connection_id"
    for url in ("", "http://127.0.0.1", "opc.tcp://", "opc.tcp://u:p@host", "opc.tcp://host:0", "opc.tcp://host:99999",
                "opc.tcp://a b", "opc.tcp://[::1", "opc.tcp://h/" + "x" * 2048, "file:///etc/passwd", SQL):
        yield "AddConnection", connection(tenant, endpoint_url=url), "endpoint_url"
        yield "TestConnection", {"tenant_id": tenant.id, "target": {"endpoint_url": url}}, "target.endpoint_url"
    for node in ("", "A", "ns=2", "ns=70000;i=1", "i=-1", "i=4294967296", "g=x", "b=*", "ns=x;s=1", "s=" + "x" * 4096, SQL):
        yield "AddConnection", connection(tenant, tags=[tag(node_id=node)]), "tags[0].node_id"
        yield "QueryReadings", {"tenant_id": tenant.id, "well_id": well, "tag_node_ids": [node]}, "tag_node_ids[0]"
    for fields, named in [
        ({"security_mode": "Encrypted"}, "security_mode"), ({"security_policy": "Basic999"}, "security_policy"),
        ({"security_mode": SQL}, "security_mode"), ({"security_policy": SQL}, "security_policy"),
        ({"security_mode": "Sign"}, "security_policy"), ({"username": "x" * 1025}, "username"),
        ({"username": "u", "password": "x" * 1025}, "password"), ({"password": "alone"}, "password"),
        ({"name": "x" * 257}, "name"), ({"publishing_interval_ms": -1}, "publishing_interval_ms"),
        ({"publishing_interval_ms": 9}, "publishing_interval_ms"),
        ({"publishing_interval_ms": 3_600_001}, "publishing_interval_ms"),
        ({"tags": [tag(data_type="x" * 129)]}, "data_type"), ({"tags": [tag(name="ü" * 129)]}, "name"),
        ({"tags": [tag(unit="x" * 65)]}, "unit"), ({"tags": [tag(sampling_interval_ms=-2)]}, "sampling_interval_ms"),
        ({"tags": [tag(sampling_interval_ms=float("nan"))]}, "sampling_interval_ms"),
        ({"tags": [tag(queue_size=100_001)]}, "queue_size"),
        ({"tags": [tag(deadband_absolute=-1)]}, "deadband_absolute"),
        ({"tags": [tag(deadband_absolute=float("inf"))]}, "deadband_absolute"),
        ({"tags": [tag(deadband_percent=101)]}, "deadband_percent"),
        ({"tags": [tag(deadband_percent=1, deadband_absolute=1)]}, "deadband_percent"),
        ({"tags": [tag(tag_id=well), tag(tag_id=well)]}, "tags[1].tag_id"),
    ]:
        yield "AddConnection", connection(tenant, **fields), named
    asked = {"tenant_id": tenant.id, "well_id": well}
    for method in ("QueryReadings", "StreamReadings"):
        for fields, named in [
            ({"limit": -1}, "limit"), ({"limit": 10_001}, "limit"), ({"start_time": 2, "end_time": 1}, "end_time"),
            ({"start_time": 2**62}, "start_time"), ({"end_time": -(2**62)}, "end_time"),
            ({"start_time_micros": 2**63 - 1}, "start_time_micros"), ({"resolution": 9}, "resolution"),
            ({"page_token": "forged"}, "page_token"), ({"page_token": SQL}, "page_token"),
            ({"page_token": "x" * 16_385}, "page_token"), ({"tag_node_ids": ["i=1"] * 1_001}, "tag_node_ids"),
        ]:
            yield method, asked | fields, named
    for method in ("ListConnections", "ListGaps"):
        for fields, named in [
            ({"limit": -1}, "limit"), ({"limit": 1_001}, "limit"), ({"page_token": "forged"}, "page_token"),
            ({"page_token": SQL}, "page_token"),
        ]:
            yield method, {"tenant_id": tenant.id} | fields, named
    yield "ListGaps", {"tenant_id": tenant.id, "start_time": 2, "end_time": 1}, "end_time"
    target = {"endpoint_url": "opc.tcp://127.0.0.1:9"}
    for method in ("TestConnection", "BrowseNodes"):
        yield method, {"tenant_id": tenant.id}, "target"
        yield method, {"tenant_id": tenant.id, "target": target, "timeout_ms": -1}, "timeout_ms"
        yield method, {"tenant_id": tenant.id, "target": target, "timeout_ms": 60_001}, "timeout_ms"
        yield method, {"tenant_id": tenant.id, "target": target | {"connection_id": well}}, "target.endpoint_url"
    for fields, named in [
        ({"max_depth": 33}, "max_depth"), ({"max_depth": -1}, "max_depth"), ({"limit": 10_001}, "limit"),
        ({"node_id": "x"}, "node_id"), ({"node_id": SQL}, "node_id"), ({"filter": "x" * 257}, "filter"),
        ({"page_token": "a b"}, "page_token"), ({"page_token": SQL}, "page_token"),
    ]:
        yield "BrowseNodes", {"tenant_id": tenant.id, "target": target} | fields, named


def test_every_field_of_every_request_is_checked_and_named(tenant, running):
    number = 0
    for method, fields, named in bad_requests(tenant):
        try:
            said = fails_with(INVALID, lambda: getattr(running.api, method)(**fields), named)
        except AssertionError as error:
            raise AssertionError(f"{method} {str(fields)[:300]}: {error}") from None
        assert said.startswith(named.split("[")[0]) or named in said
        assert len(said) < 1_000, "an over-long value is not repeated"
        number += 1
    print(f"{number} bad requests")
    assert tenant.value("SELECT count(*) FROM scada_connections") == 0
    assert running.api.HealthCheck().status == "healthy"


def test_a_page_token_belongs_to_its_query(tenant, running):
    well = str(uuid.uuid4())
    tenant.sql.execute(
        "INSERT INTO scada_readings (timestamp, well_id, tag_node_id, value, quality)"
        " SELECT to_timestamp(second), %s, 'i=1', second, 'Good' FROM generate_series(1, 10) AS second", [well],
    )
    api, asked = running.api, {"tenant_id": tenant.id, "well_id": well, "limit": 4}
    token = api.QueryReadings(**asked).next_page_token
    assert [each.value for each in api.QueryReadings(**asked, page_token=token).readings] == [6, 5, 4, 3]
    for changed in ({"ascending": True}, {"well_id": str(uuid.uuid4())}, {"tag_node_ids": ["i=1"]}, {"resolution": 1},
                    {"end_time": 9}):
        fails_with(INVALID, lambda: api.QueryReadings(**asked | changed, page_token=token), "page_token")


def test_a_page_token_outlives_the_row_it_points_to(tenant, running, make_server):
    api, well = running.api, str(uuid.uuid4())
    tenant.sql.execute(
        "INSERT INTO scada_readings (timestamp, well_id, tag_node_id, value, quality)"
        " SELECT to_timestamp(second), %s, 'i=1', second, 'Good' FROM generate_series(1, 10) AS second", [well],
    )
    tenant.sql.execute(
        "INSERT INTO scada_gaps (id, connection_id, started_at, ended_at, cause)"
        " SELECT gen_random_uuid(), gen_random_uuid(), to_timestamp(second), to_timestamp(second), 'test'"
        " FROM generate_series(1, 10) AS second"
    )
    server = make_server(1)
    connections = sorted(str(tenant.add_connection(server, is_enabled=False)) for _ in range(4))

    readings = api.QueryReadings(tenant_id=tenant.id, well_id=well, limit=4).next_page_token
    gaps = api.ListGaps(tenant_id=tenant.id, limit=4).next_page_token
    listed = api.ListConnections(tenant_id=tenant.id, limit=2).next_page_token
    tenant.sql.execute("DELETE FROM scada_readings WHERE value BETWEEN 6 AND 8")
    tenant.sql.execute("DELETE FROM scada_gaps WHERE started_at BETWEEN to_timestamp(6) AND to_timestamp(8)")
    tenant.sql.execute("UPDATE scada_connections SET deleted_at = now() WHERE id = ANY (%s)", [connections[:3]])

    answer = api.QueryReadings(tenant_id=tenant.id, well_id=well, limit=4, page_token=readings)
    assert [each.value for each in answer.readings] == [5, 4, 3, 2]
    answer = api.ListGaps(tenant_id=tenant.id, limit=4, page_token=gaps)
    assert [each.started_at_micros for each in answer.gaps] == [each * 1_000_000 for each in (5, 4, 3, 2)]
    answer = api.ListConnections(tenant_id=tenant.id, limit=2, page_token=listed)
    assert [each.connection_id for each in answer.connections] == connections[3:] and not answer.next_page_token


def test_decades_are_paged_and_absurd_ranges_are_answered(tenant, running):
    well = str(uuid.uuid4())
    tenant.sql.execute(
        "INSERT INTO scada_readings (timestamp, well_id, tag_node_id, value, quality)"
        " SELECT timestamptz '1970-01-02' + month * interval '30 days', %s, 'i=1', month, 'Good'"
        " FROM generate_series(0, 679) AS month", [well],
    )
    api = running.api
    asked = {"tenant_id": tenant.id, "well_id": well, "start_time": -62_135_596_800, "end_time": 253_402_300_799}
    seen, token = [], None
    while token != "":
        page = api.QueryReadings(**asked, limit=100, page_token=token or "", timeout=120)
        seen += [each.value for each in page.readings]
        token = page.next_page_token
    assert seen == [float(month) for month in range(679, -1, -1)]
    for resolution in (1, 2, 3):
        answer = api.QueryReadings(**asked, resolution=resolution, timeout=120).readings
        assert sum(each.count for each in answer) == 680


def test_sql_in_every_string_is_stored_as_text(tenant, running, make_server):
    api, server = running.api, make_server(1)
    node = f"ns=2;s={SQL}"
    request = connection(
        tenant, endpoint_url=server.url, name=SQL, username=SQL, password=SQL,
        tags=[tag(node_id=node, data_type=SQL, name=SQL, unit=SQL)],
    )
    assert api.AddConnection(**request).success
    assert tenant.sql.execute("SELECT name, username FROM scada_connections").fetchall() == [(SQL, SQL)]
    assert tenant.sql.execute("SELECT opc_node_id, data_type, name, unit FROM tag_mappings").fetchall() == [
        (node, SQL, SQL, SQL)
    ]
    assert tenant.value("SELECT password FROM scada_connections").startswith("enc:v1:")
    tenant.sql.execute("INSERT INTO scada_readings VALUES (now(), %s, %s, 1, 'Good')", [request["tags"][0]["well_id"], node])
    answer = api.QueryReadings(tenant_id=tenant.id, well_id=request["tags"][0]["well_id"], tag_node_ids=[node]).readings
    assert [each.tag_node_id for each in answer] == [node]
    assert [each.name for each in api.ListConnections(tenant_id=tenant.id).connections] == [SQL]
    assert tenant.value("SELECT to_regclass('scada_readings') IS NOT NULL")


def test_ten_thousand_tags_in_one_call(tenant, running):
    request = connection(tenant, tags=[tag(node_id=f"ns=2;s=Tag{index}") for index in range(10_000)])
    assert running.api.AddConnection(**request, timeout=120).success
    assert tenant.value("SELECT count(*) FROM tag_mappings WHERE deleted_at IS NULL") == 10_000
    listed = running.api.ListConnections(tenant_id=tenant.id).connections
    assert [each.tags_total for each in listed] == [10_000]
    # No REPLICA_ID: the host's name.
    eventually(
        lambda: [each.owner for each in running.api.ListConnections(tenant_id=tenant.id).connections] == [socket.gethostname()],
        "the connection runs", watch=running.must_live,
    )


def raw_call(daemon, method, data, timeout=20):
    make = daemon.channel.unary_stream if method == "StreamReadings" else daemon.channel.unary_unary
    answer = make(f"/scada.ScadaService/{method}")(data, timeout=timeout)
    return list(answer) if method == "StreamReadings" else answer


def test_bytes_that_are_no_message_and_messages_over_the_limit(tenant, running):
    for method in METHODS:
        for data in (b"\xff", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 200, b"\x08\x80"):
            fails_with(INVALID, lambda: raw_call(running, method, data))
        fails_with(EXHAUSTED, lambda: raw_call(running, method, b"\x0a" + b"\0" * (4 << 20)))
    # Text that is not UTF-8, and NUL within a text.
    for text in (b"\xff" * 36, b"\x00" * 36):
        fails_with(INVALID, lambda: raw_call(running, "GetAggregatorStats", b"\x0a\x24" + text), "tenant_id")
    fails_with(grpc.StatusCode.UNIMPLEMENTED, lambda: raw_call(running, "NoSuchMethod", b""))
    assert running.api.HealthCheck().status == "healthy"


def test_fuzzed_requests_are_each_answered(tenant, running):
    seed = int(os.environ.get("SCADA_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    api = running.api
    target = {"endpoint_url": "opc.tcp://127.0.0.1:9"}
    valid = {
        "QueryReadings": {"tenant_id": tenant.id, "well_id": str(uuid.uuid4()), "limit": 5, "tag_node_ids": ["i=1"]},
        "GetAggregatorStats": {"tenant_id": tenant.id},
        "AddConnection": connection(tenant, tags=[tag(), tag()], username="u", password="p", name="n"),
        "RemoveConnection": {"connection_id": str(uuid.uuid4())},
        "HealthCheck": {},
        "ListConnections": {"tenant_id": tenant.id, "limit": 1},
        "TestConnection": {"tenant_id": tenant.id, "target": target, "timeout_ms": 100},
        "BrowseNodes": {"tenant_id": tenant.id, "target": target, "timeout_ms": 100, "node_id": "i=85"},
        "ListGaps": {"tenant_id": tenant.id, "start_time": 1, "end_time": 5},
    }
    valid["StreamReadings"] = valid["QueryReadings"]
    names = {name: "QueryReadings" if name == "StreamReadings" else name for name in METHODS}
    seeds = {name: api.message(f"{names[name]}Request", **valid[name]).SerializeToString() for name in METHODS}

    def mutated(data):
        data = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            place = chance.randint(0, len(data))
            action = chance.randint(0, 4)
            if action == 0 and data:
                data[place % len(data)] = chance.randrange(256)
            elif action == 1:
                data[place:place] = chance.randbytes(chance.randint(1, 20))
            elif action == 2:
                del data[place:place + chance.randint(1, 10)]
            elif action == 3:
                data += seeds[chance.choice(METHODS)]
            else:
                data[place:place] = data[place:place + 40] * chance.randint(1, 50)
        return bytes(data)

    answered, deadline = {}, time.monotonic() + FUZZED_SECONDS
    while time.monotonic() < deadline:
        method = chance.choice(METHODS)
        data = mutated(seeds[method])
        try:
            raw_call(running, method, data)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
        running.must_live()
        assert code not in (
            grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED,
            # The OPC UA server that a changed request names need not be there.
            None if method == "BrowseNodes" else grpc.StatusCode.UNAVAILABLE,
        ), f"seed {seed}: {method} {data.hex()}: {code}"
        answered[code.name] = answered.get(code.name, 0) + 1
    print(answered)
    assert answered.get("INVALID_ARGUMENT", 0) > 0
    assert api.HealthCheck().active_tenants == 1


def statements(watcher):
    """How many queries for readings the daemon has on the tenant's server now."""
    return watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND query LIKE '%FROM scada_readings WHERE well_id = $1%' AND pid <> pg_backend_pid()"
    ).fetchone()[0]


@pytest.mark.parametrize("how", ["cancelled", "deadline", "disconnected"])
def test_the_sql_behind_a_call_ends_with_the_call(tenant, running, how):
    request = running.api.message(
        "QueryReadingsRequest", tenant_id=tenant.id, well_id=str(uuid.uuid4())
    ).SerializeToString()
    address = f"127.0.0.1:{running.variables['GRPC_PORT']}"
    # A statement that waits: the table is locked by the test. What runs is seen from another connection, because a
    # transaction sees pg_stat_activity as it was at first.
    with connect(tenant.url) as watcher, tenant.sql.transaction():
        tenant.sql.execute("LOCK TABLE scada_readings IN ACCESS EXCLUSIVE MODE")
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            future = channel.unary_unary("/scada.ScadaService/QueryReadings").future(
                request, timeout=5 if how == "deadline" else 60
            )
            eventually(lambda: statements(watcher) == 1, "the statement waits", watch=running.must_live)
            if how == "cancelled":
                future.cancel()
            elif how == "deadline":
                fails_with(grpc.StatusCode.DEADLINE_EXCEEDED, future.result)
        # The client's connection is closed by now.
        eventually(lambda: statements(watcher) == 0, "the statement has ended", timeout=20, watch=running.must_live)
    assert running.api.HealthCheck().status == "healthy"


def process_figures(daemon):
    scrape = daemon.scrape()
    return scrape.total("process_open_fds"), scrape.total("process_resident_memory_bytes")


def test_many_concurrent_callers_leave_nothing_behind(tenant, running):
    well = str(uuid.uuid4())
    tenant.sql.execute(
        "INSERT INTO scada_readings (timestamp, well_id, tag_node_id, value, quality)"
        " SELECT to_timestamp(second), %s, 'i=1', second, 'Good' FROM generate_series(1, 1000) AS second", [well],
    )
    request = running.api.message("QueryReadingsRequest", tenant_id=tenant.id, well_id=well, limit=100).SerializeToString()
    address = f"127.0.0.1:{running.variables['GRPC_PORT']}"
    before = {}

    def round_of_calls(seconds):
        counts, lock, end = {}, threading.Lock(), time.monotonic() + seconds
        channels = [
            grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(max(1, CALLERS // 20))
        ]

        def caller(index):
            call, own = channels[index % len(channels)].unary_unary("/scada.ScadaService/QueryReadings"), {}
            while time.monotonic() < end:
                try:
                    call(request, timeout=120)
                    code = grpc.StatusCode.OK
                except grpc.RpcError as error:
                    code = error.code()
                    if code == EXHAUSTED:
                        time.sleep(0.05)
                own[code] = own.get(code, 0) + 1
            with lock:
                for code, number in own.items():
                    counts[code] = counts.get(code, 0) + number

        with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(caller, range(CALLERS)))
        for channel in channels:
            channel.close()
        return counts

    # What the first round makes, pools and caches, stays; more rounds must not add to it.
    round_of_calls(CALLING_SECONDS)
    before["descriptors"], before["memory"] = eventually(lambda: process_figures(running), "figures")
    counts = round_of_calls(CALLING_SECONDS)
    print({code.name: number for code, number in counts.items()})
    assert set(counts) <= {grpc.StatusCode.OK, EXHAUSTED}, counts
    assert counts[grpc.StatusCode.OK] > 0
    eventually(
        lambda: process_figures(running)[0] <= before["descriptors"] + 8, "the descriptors are closed",
        watch=running.must_live,
    )
    descriptors, memory = process_figures(running)
    print(f"descriptors {before['descriptors']} -> {descriptors}, memory {before['memory']} -> {memory}")
    assert memory <= before["memory"] + (24 << 20)
    assert running.api.HealthCheck().status == "healthy"
