"""The methods that came after the original five: lists of connections and gaps, probes of OPC UA servers, long texts."""
import datetime
import hashlib
import time
import uuid

import grpc
import pytest

from support.api import FullAPI, fails_with
from support.wait import eventually

BASE = int(datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc).timestamp())
NAMESPACE = "urn:scada-ingestion:system-tests"


@pytest.fixture
def running(daemon):
    return daemon.start()


def listed(api, tenant, **more):
    return {each.connection_id: each for each in api.ListConnections(tenant_id=tenant.id, **more).connections}


def test_connections_are_listed_in_every_state(tenant, daemon, make_server):
    running = daemon.start(REPLICA_ID="north-1")
    started = time.time_ns() // 1_000
    server = make_server(4)
    good = str(tenant.add_connection(server))
    down = str(tenant.add_connection(server, url="opc.tcp://127.0.0.1:9/nobody"))
    invalid = str(tenant.add_connection(server, security_mode="Sign", security_policy="None"))
    disabled = str(tenant.add_connection(server, is_enabled=False))
    removed = str(tenant.add_connection(server))
    tenant.sql.execute("UPDATE scada_connections SET deleted_at = now() WHERE id = %s", [removed])

    def settled():
        found = listed(running.api, tenant)
        return (
            set(found) == {good, down, invalid, disabled} and found[good].state == "connected"
            and found[good].readings_received >= 4 and found[down].last_error and found[invalid].state == "invalid" and found
        )

    found = eventually(settled, "the four connections are listed as they are", watch=running.must_live)
    assert found[good].is_enabled and found[good].endpoint_url == server.url and found[good].tags_total == 4
    assert found[good].tags_bad == 0 and found[good].publishing_interval_ms > 0 and found[good].last_reading_at_micros > 0
    assert found[down].state in ("connecting", "waiting to reconnect", "down")
    assert "security" in found[invalid].last_error and found[invalid].is_enabled
    assert found[disabled].state == "disabled" and not found[disabled].is_enabled and found[disabled].tags_total == 4

    assert {each: found[each].owner for each in found} == {good: "north-1", down: "north-1", invalid: "", disabled: ""}
    now = time.time_ns() // 1_000
    assert all(started <= found[each].last_error_at_micros <= now for each in (down, invalid))
    assert all(not found[each].last_error and not found[each].last_error_at_micros for each in (good, disabled))
    assert started <= found[invalid].state_since_micros <= found[invalid].last_error_at_micros
    # It does not become younger with the next look at the configuration, which brings another connection.
    later = str(tenant.add_connection(server, security_mode="Sign", security_policy="None"))
    again = eventually(
        lambda: later in (now := listed(running.api, tenant)) and now[later].state == "invalid" and now,
        "the other invalid connection is listed", watch=running.must_live,
    )
    assert again[invalid].last_error_at_micros == found[invalid].last_error_at_micros
    assert again[later].last_error_at_micros > found[invalid].last_error_at_micros
    tenant.sql.execute("DELETE FROM tag_mappings WHERE connection_id = %s", [later])
    tenant.sql.execute("DELETE FROM scada_connections WHERE id = %s", [later])

    only = running.api.ListConnections(tenant_id=tenant.id, connection_id=down).connections
    assert [each.connection_id for each in only] == [down]
    seen, token = [], ""
    while True:
        page = running.api.ListConnections(tenant_id=tenant.id, limit=3, page_token=token)
        seen += [each.connection_id for each in page.connections]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted([good, down, invalid, disabled])
    fails_with(
        grpc.StatusCode.INVALID_ARGUMENT,
        lambda: running.api.ListConnections(tenant_id=tenant.id, page_token="x"), "page_token",
    )


def test_gaps_are_listed_newest_first(tenant, running):
    connection = uuid.uuid4()
    tenant.sql.execute(
        """
        INSERT INTO scada_gaps (id, connection_id, tag_node_id, started_at, ended_at, cause, readings_lost, healed_at,
            readings_recovered)
        SELECT gen_random_uuid(), %s, CASE WHEN hour = 2 THEN 'ns=2;s=A' END, to_timestamp(%s + hour * 3600),
            to_timestamp(%s + hour * 3600 + 60), 'test', CASE WHEN hour = 2 THEN 7 END,
            CASE WHEN hour = 1 THEN now() END, CASE WHEN hour = 1 THEN 5 END
        FROM generate_series(0, 3) AS hour
        """,
        [connection, BASE, BASE],
    )
    gaps = running.api.ListGaps(tenant_id=tenant.id).gaps
    assert [each.started_at_micros for each in gaps] == [(BASE + hour * 3600) * 1_000_000 for hour in (3, 2, 1, 0)]
    assert gaps[1].tag_node_id == "ns=2;s=A" and gaps[1].readings_lost == 7 and gaps[1].readings_lost_known
    assert not gaps[0].readings_lost_known and gaps[0].connection_id == str(connection) and gaps[0].cause == "test"
    assert gaps[2].healed_at_micros > 0 and gaps[2].readings_recovered == 5
    unhealed = running.api.ListGaps(tenant_id=tenant.id, unhealed_only=True, start_time=BASE + 3600).gaps
    assert [each.started_at_micros for each in unhealed] == [gaps[0].started_at_micros, gaps[1].started_at_micros]
    first = running.api.ListGaps(tenant_id=tenant.id, limit=3)
    rest = running.api.ListGaps(tenant_id=tenant.id, limit=3, page_token=first.next_page_token)
    assert [each.gap_id for each in [*first.gaps, *rest.gaps]] == [each.gap_id for each in gaps]
    assert not rest.next_page_token
    assert len(running.api.ListGaps(tenant_id=tenant.id, connection_id=str(uuid.uuid4())).gaps) == 0


def test_pages_of_long_texts_fit_a_message(tenant, running):
    well = uuid.uuid4()
    tenant.sql.execute(
        """
        INSERT INTO scada_readings (timestamp, well_id, tag_node_id, quality, value_text)
        SELECT to_timestamp(%s + second), %s, 'ns=2;s=Text', 'Good', repeat('x', 100000) || second
        FROM generate_series(0, 99) AS second
        """,
        [BASE, str(well)],
    )
    asked = {"tenant_id": tenant.id, "well_id": str(well), "ascending": True}
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        page = running.api.QueryReadings(**asked, page_token=token)
        assert len(page.SerializeToString()) < 4 * 1024 * 1024
        seen += [each.value_text[100_000:] for each in page.readings]
        token, pages = page.next_page_token, pages + 1
    assert seen == [str(second) for second in range(100)] and pages >= 3
    # Every message of a stream can be continued from.
    stream = list(running.api.StreamReadings(**asked))
    assert [each.value_text[100_000:] for page in stream for each in page.readings] == seen
    assert all(page.next_page_token for page in stream[:-1]) and not stream[-1].next_page_token
    again = list(running.api.StreamReadings(**asked, page_token=stream[1].next_page_token))
    skipped = len(stream[0].readings) + len(stream[1].readings)
    assert [each.value_text[100_000:] for page in again for each in page.readings] == seen[skipped:]


def test_a_server_is_tested_before_it_is_added(platform, tenant, make_daemon, make_server):
    # The tests' server has no certificate to encrypt a password for.
    running = make_daemon(platform.master_url, OPC_ALLOW_PLAINTEXT_PASSWORD="true").start()
    server = make_server(3, users={"operator": "correct-horse"})
    api = running.api

    def test(timeout_ms=0, **target):
        return api.TestConnection(
            tenant_id=tenant.id, target=api.message("ConnectionTarget", **target), timeout_ms=timeout_ms
        )

    good = test(endpoint_url=server.url, username="operator", password="correct-horse")
    assert good.success and not good.error and not good.failed_step
    assert good.connect_ms > 0 and good.application_uri and good.endpoints
    assert good.endpoints[0].security_mode == "None" and "UserName" in good.endpoints[0].user_token_types
    assert abs(good.clock_offset_ms) < 60_000

    wrong = test(endpoint_url=server.url, username="operator", password="wrong-secret")
    assert not wrong.success and wrong.failed_step == "identity" and wrong.endpoints
    assert "wrong-secret" not in str(wrong)

    nobody = test(endpoint_url="opc.tcp://127.0.0.1:9/nobody")
    assert not nobody.success and nobody.failed_step == "tcp" and "refused" in nobody.error

    assert tenant.value("SELECT count(*) FROM scada_connections") == 0
    assert "wrong-secret" not in running.log_text() and "correct-horse" not in running.log_text()

    # A stored one, with its stored credentials.
    stored = str(uuid.uuid4())
    assert api.AddConnection(
        connection_id=stored, tenant_id=tenant.id, endpoint_url=server.url, username="operator", password="correct-horse"
    ).success
    assert tenant.value("SELECT password FROM scada_connections").startswith("enc:v1:")
    assert test(connection_id=stored).success
    fails_with(grpc.StatusCode.NOT_FOUND, lambda: test(connection_id=str(uuid.uuid4())), "connection")


def test_a_server_that_hangs_costs_only_its_time(tenant, running, make_server):
    server = make_server(1)
    server.freeze()
    try:
        answer = running.api.TestConnection(
            tenant_id=tenant.id, timeout_ms=1_000,
            target=running.api.message("ConnectionTarget", endpoint_url=server.url),
        )
        assert not answer.success and answer.error
        fails_with(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            lambda: running.api.TestConnection(
                tenant_id=tenant.id, timeout_ms=60_000, timeout=1,
                target=running.api.message("ConnectionTarget", endpoint_url=server.url),
            ),
        )
    finally:
        server.thaw()
    assert running.api.HealthCheck().status


def test_browsed_nodes_are_ready_to_map(tenant, running, make_server):
    server = make_server(30)
    api = running.api
    target = api.message("ConnectionTarget", endpoint_url=server.url)
    asked = {"tenant_id": tenant.id, "target": target, "max_depth": 4, "variables_only": True, "filter": "tag000"}
    whole = api.BrowseNodes(**asked, read_values=True)
    variables = {each.display_name: each for each in whole.nodes}
    assert set(variables) == set(server.names) and not whole.next_page_token
    one = variables["Tag00007"]
    assert one.node_id == f"nsu={NAMESPACE};s=Tag00007" and one.node_class == "Variable" and one.readable
    assert one.mapping.node_id == one.node_id and one.mapping.data_type == "Double" and one.mapping.name == "Tag00007"
    assert one.quality == "Good" and float(one.value) >= 0

    seen, token = [], ""
    while True:
        page = api.BrowseNodes(**asked, limit=12, page_token=token)
        assert len(page.nodes) <= 12
        seen += [each.node_id for each in page.nodes]
        token = page.next_page_token
        if not token:
            break
    assert seen == [each.node_id for each in whole.nodes]

    # What was browsed can be added as it is, and flows.
    mapping = api.message("TagMapping")
    mapping.CopyFrom(one.mapping)
    mapping.tag_id, mapping.well_id = str(uuid.uuid4()), str(uuid.uuid4())
    assert api.AddConnection(
        connection_id=str(uuid.uuid4()), tenant_id=tenant.id, endpoint_url=server.url, tags=[mapping]
    ).success
    tenant.wait_for_count(1, watch=running.must_live)
    assert tenant.value("SELECT tag_node_id FROM scada_readings LIMIT 1") == one.node_id

    fails_with(
        grpc.StatusCode.NOT_FOUND,
        lambda: api.BrowseNodes(tenant_id=tenant.id, target=target, node_id="ns=2;s=Nothing"),
    )
    fails_with(
        grpc.StatusCode.UNAVAILABLE,
        lambda: api.BrowseNodes(
            tenant_id=tenant.id, target=api.message("ConnectionTarget", endpoint_url="opc.tcp://127.0.0.1:9")
        ),
        "tcp",
    )


def test_a_token_opens_its_own_tenant_only(platform, make_daemon, make_server, tmp_path):
    mine, theirs = platform.add_tenant("mine"), platform.add_tenant("theirs")
    tokens = tmp_path / "tokens"

    def line(token, tenant):
        return f"sha256:{hashlib.sha256(token.encode()).hexdigest()} {tenant}\n"

    tokens.write_text("# the platform\r\n" + line("platform-token", "*") + line("mine-token", mine.id))
    server = make_server(2)
    connections = {tenant.id: str(tenant.add_connection(server)) for tenant in (mine, theirs)}
    daemon = make_daemon(platform.master_url, GRPC_TOKENS_FILE=tokens).start()

    def client(token):
        return FullAPI(daemon.channel, metadata=[("authorization", f"Bearer {token}")])

    every, own = client("platform-token"), client("mine-token")
    eventually(lambda: every.HealthCheck().active_connections == 2, "both connections run", watch=daemon.must_live)
    assert {each.tenant_id for each in every.HealthCheck().tenants} == {mine.id, theirs.id}
    health = own.HealthCheck()
    assert [each.tenant_id for each in health.tenants] == [mine.id] and health.active_connections == 1

    denied = grpc.StatusCode.PERMISSION_DENIED
    fails_with(denied, lambda: own.ListConnections(tenant_id=theirs.id))
    fails_with(denied, lambda: own.QueryReadings(tenant_id=theirs.id, well_id=str(uuid.uuid4())))
    fails_with(denied, lambda: own.RemoveConnection(connection_id=connections[theirs.id]))
    for api in (FullAPI(daemon.channel), client("another-token")):
        fails_with(grpc.StatusCode.UNAUTHENTICATED, lambda: api.HealthCheck())
    assert own.RemoveConnection(connection_id=connections[mine.id]).success
    assert every.HealthCheck().active_connections == 1
    fails_with(grpc.StatusCode.NOT_FOUND, lambda: own.RemoveConnection(connection_id=connections[mine.id]))

    # A new list of tokens is in force without a restart.
    tokens.write_text(line("new-token", mine.id))
    eventually(lambda: fails_with(grpc.StatusCode.UNAUTHENTICATED, lambda: own.HealthCheck()), "the old token is dead")
    assert client("new-token").HealthCheck().status

    log = daemon.log_text()
    assert f'"tenant_id":"{mine.id}"' in log and "audit: command" in log
    for token in ("platform-token", "mine-token", "another-token", "new-token"):
        assert token not in log
