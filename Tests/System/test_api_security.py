"""Who is let in: tokens, client certificates. Whoever is not is refused, logged and counted."""
import hashlib
import uuid

import grpc
import pytest

from support import certificates
from support.api import FullAPI, fails_with
from support.wait import eventually


@pytest.fixture
def people(tmp_path):
    folder = tmp_path / "certificates"
    authority = certificates.make(folder, "clients-authority", authority=True)
    return {
        "server": certificates.make(folder, "server"),
        "authority": authority,
        "good": certificates.make(folder, "good", issuer=authority),
        "expired": certificates.make(folder, "expired", issuer=authority, days=(-10, -1)),
        "stranger": certificates.make(folder, "stranger"),
    }


def secure(daemon, people, who=None):
    """A channel of its own: grpcio shares connections between channels of the same arguments."""
    credentials = grpc.ssl_channel_credentials(
        people["server"].pem.read_bytes(), *(
            (people[who].key.read_bytes(), people[who].pem.read_bytes()) if who else (None, None)
        ),
    )
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    return grpc.secure_channel(f"127.0.0.1:{daemon.variables['GRPC_PORT']}", credentials, options)


def audit(daemon):
    return [line for line in daemon.log_lines() if line["message"].startswith("audit:")]


def test_mutual_tls_lets_in_only_valid_certificates(platform, tenant, make_daemon, people):
    daemon = make_daemon(
        platform.master_url, GRPC_TLS_CERT=people["server"].pem, GRPC_TLS_KEY=people["server"].key,
        GRPC_TLS_CLIENT_CA=people["authority"].pem,
    ).start()
    with secure(daemon, people, "good") as channel:
        assert FullAPI(channel).HealthCheck().active_tenants == 1
    for turn, who in enumerate((None, "expired", "stranger"), start=1):
        with secure(daemon, people, who) as channel:
            fails_with(grpc.StatusCode.UNAVAILABLE, lambda: FullAPI(channel).HealthCheck())
        eventually(
            lambda: (daemon.scrape().total("scada_grpc_failed_handshakes_total") or 0) >= turn,
            f"the handshake with {who or 'no'} certificate is counted", watch=daemon.must_live,
        )
        eventually(
            lambda: len([each for each in audit(daemon) if "handshake" in each["message"]]) >= turn,
            "it is logged", watch=daemon.must_live,
        )
    # Somebody without TLS at all.
    with grpc.insecure_channel(
        f"127.0.0.1:{daemon.variables['GRPC_PORT']}", [("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        fails_with(grpc.StatusCode.UNAVAILABLE, lambda: FullAPI(channel).HealthCheck())
    with secure(daemon, people, "good") as channel:
        api = FullAPI(channel)
        connection = str(uuid.uuid4())
        api.AddConnection(
            connection_id=connection, tenant_id=tenant.id, endpoint_url="opc.tcp://127.0.0.1:9", username="operator",
            password="hunter2",
        )
        assert api.RemoveConnection(connection_id=connection).success
    # A line may follow its answer.
    def told():
        lines = [line for line in audit(daemon) if line["message"] == "audit: command"]
        return len(lines) >= 2 and lines

    commands = eventually(told, "both are logged", watch=daemon.must_live)
    assert [(line["method"], line["result"], line["connection_id"], line["tenant_id"]) for line in commands] == [
        ("AddConnection", "OK", connection, tenant.id), ("RemoveConnection", "OK", connection, tenant.id),
    ]
    assert all("good" in line["caller"] for line in commands), commands
    assert "hunter2" not in daemon.log_text()


def test_a_renewed_certificate_is_in_force_without_a_restart(platform, tenant, make_daemon, people, tmp_path):
    pem, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    pem.write_bytes(people["server"].pem.read_bytes())
    key.write_bytes(people["server"].key.read_bytes())
    daemon = make_daemon(platform.master_url, GRPC_TLS_CERT=pem, GRPC_TLS_KEY=key).start()
    with secure(daemon, people) as channel:
        assert FullAPI(channel).HealthCheck().status
    people["server"] = certificates.make(tmp_path / "renewed", "server")
    key.write_bytes(people["server"].key.read_bytes())
    pem.write_bytes(people["server"].pem.read_bytes())

    def renewed():
        with secure(daemon, people) as channel:
            try:
                return FullAPI(channel).HealthCheck().status
            except grpc.RpcError as error:
                raise AssertionError(error.details()) from None

    eventually(renewed, "clients that trust only the new certificate are served", watch=daemon.must_live)


def test_wrong_tokens_are_refused_logged_and_counted(platform, make_daemon, tmp_path):
    mine, theirs = platform.add_tenant("mine"), platform.add_tenant("theirs")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"sha256:{hashlib.sha256(b'mine-token').hexdigest()} {mine.id}\n")
    daemon = make_daemon(platform.master_url, GRPC_TOKENS_FILE=tokens).start()

    def client(*metadata):
        return FullAPI(daemon.channel, metadata=list(metadata))

    asked = {"tenant_id": theirs.id, "well_id": str(uuid.uuid4())}
    refusals = [
        (grpc.StatusCode.UNAUTHENTICATED, client()),
        (grpc.StatusCode.UNAUTHENTICATED, client(("authorization", "Bearer guessed-token"))),
        (grpc.StatusCode.UNAUTHENTICATED, client(("authorization", "Basic bWluZS10b2tlbg=="))),
        (grpc.StatusCode.UNAUTHENTICATED, client(("authorization", "Bearer mine-token"), ("authorization", "Bearer x"))),
        (grpc.StatusCode.PERMISSION_DENIED, client(("authorization", "Bearer mine-token"))),
    ]
    for code, api in refusals:
        fails_with(code, lambda: api.QueryReadings(**asked))
    for code, number in [("UNAUTHENTICATED", 4), ("PERMISSION_DENIED", 1)]:
        eventually(
            lambda: daemon.scrape().total("scada_grpc_calls_total", method="QueryReadings", code=code) == number,
            f"{number} calls are counted as {code}", watch=daemon.must_live,
        )
        lines = [line for line in audit(daemon) if line.get("result") == code]
        assert len(lines) == number and all(line["message"] == "audit: call refused" for line in lines)
        assert all(line["method"] == "QueryReadings" and line["peer"] for line in lines)
    # Commands too, each with what it was about.
    own, connection = client(("authorization", "Bearer mine-token")), str(uuid.uuid4())
    fails_with(grpc.StatusCode.PERMISSION_DENIED, lambda: own.AddConnection(
        connection_id=connection, tenant_id=theirs.id, endpoint_url="opc.tcp://127.0.0.1:9", username="u", password="hunter2",
    ))
    assert theirs.value("SELECT count(*) FROM scada_connections") == 0
    commands = eventually(
        lambda: [line for line in audit(daemon) if line["message"] == "audit: command failed"], "it is logged",
        watch=daemon.must_live,
    )
    assert [(line["method"], line["result"], line["tenant_id"], line["connection_id"]) for line in commands] == [
        ("AddConnection", "PERMISSION_DENIED", theirs.id, connection)
    ]
    assert daemon.scrape().total("scada_grpc_calls_total", method="AddConnection", code="PERMISSION_DENIED") == 1
    for secret in ("hunter2", "mine-token", "guessed-token", "bWluZS10b2tlbg=="):
        assert secret not in daemon.log_text()
    assert client(("authorization", "Bearer mine-token")).HealthCheck().active_tenants == 1
