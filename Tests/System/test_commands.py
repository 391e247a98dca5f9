"""test-connection and browse, against servers made with asyncua and against the simulator, without any database."""
import csv
import io
import json
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes
from google.protobuf import json_format

from support import certificates
from support.daemon import run
from support.paths import DAEMON
from support.tenancy import ANY_UUID

URI = "urn:scada-ingestion:system-tests:server"


def security_of(identity, *policies):
    """The option `security` of a CounterServer."""
    return {"policies": policies, "certificate": str(identity.der), "private_key": str(identity.key), "uri": URI}


def sha(identity, algorithm):
    return identity.certificate.fingerprint(algorithm).hex().upper()


def test_connection_json(tmp_path, url, *arguments, expect=0, **variables):
    done = run("test-connection", url, "--json", *arguments, OPC_PKI_DIR=tmp_path / "pki", **variables)
    assert done.returncode == expect, done.stdout + done.stderr
    return json.loads(done.stdout)


test_connection_json.__test__ = False


def test_a_session_without_security_is_described(tmp_path, make_server):
    server = make_server(3)
    found = test_connection_json(tmp_path, server.url)
    assert found["works"] and "failure" not in found
    assert [step["name"] for step in found["steps"]] == [
        "connect", "open secure channel", "get endpoints", "create session", "activate session", "read",
    ]
    assert all(step["succeeded"] and step["microseconds"] > 0 for step in found["steps"])
    assert found["namespaces"][0] == "http://opcfoundation.org/UA/"
    assert "urn:scada-ingestion:system-tests" in found["namespaces"]
    assert found["server"]["application_name"] == "counters"
    assert abs(found["server"]["clock_offset_ms"]) < 5_000, "one machine, one clock"
    assert found["endpoints"][0]["security_policy"] == "None" and found["endpoints"][0]["is_used"]
    assert not (tmp_path / "pki").exists(), "nothing needs a certificate here, so none is made"
    text = run("test-connection", server.url)
    assert text.returncode == 0 and text.stdout.startswith(f"ok    {server.url} (None, None, anonymous)\n")
    assert server.status()["clients"] == 0, "the sessions were closed"


def test_an_untrusted_server_is_trusted_with_the_command_that_is_named(tmp_path, make_server):
    own = certificates.make(tmp_path / "made", "server", uri=URI)
    thumbprint = sha(own, hashes.SHA1())
    server = make_server(1, security=security_of(own, "NoSecurity", "Basic256Sha256_SignAndEncrypt"))
    secured = ("--security-policy", "Basic256Sha256")
    found = test_connection_json(tmp_path, server.url, *secured, expect=78)
    assert found["failure"]["kind"] == "certificate_untrusted"
    assert found["failure"]["step"] == "check the server's certificate"
    assert f"scada-ingestion trust {thumbprint}" in found["failure"]["cure"]
    assert not found["steps"][-1]["succeeded"]
    certificate, = found["certificates"]
    assert certificate["thumbprint"] == thumbprint and certificate["sha256"] == sha(own, hashes.SHA256())
    assert certificate["is_trusted"] is False and certificate["application_uris"] == [URI]
    offered = {(each["security_policy"], each["security_mode"]) for each in found["endpoints"]}
    assert offered == {("None", "None"), ("Basic256Sha256", "SignAndEncrypt")}

    trusted = run("trust", thumbprint, OPC_PKI_DIR=tmp_path / "pki")
    assert trusted.returncode == 0, trusted.stderr
    found = test_connection_json(tmp_path, server.url, *secured)
    assert found["works"] and found["certificates"][0]["is_trusted"] is True
    assert "check the server's certificate" in [step["name"] for step in found["steps"]]


def test_users_by_password_file_environment_and_input(tmp_path, make_server):
    own = certificates.make(tmp_path / "made", "server", uri=URI)
    server = make_server(1, users={"operator": "pümp 7"}, security=security_of(own, "Basic256Sha256_SignAndEncrypt"))
    run("trust", own.der, OPC_PKI_DIR=tmp_path / "pki")
    secured = ("--security-policy", "Basic256Sha256", "--user", "operator")
    secret = tmp_path / "password"
    secret.write_text("pümp 7\n")
    assert test_connection_json(tmp_path, server.url, *secured, "--password-file", secret)["works"]
    assert test_connection_json(tmp_path, server.url, *secured, SCADA_PASSWORD="pümp 7")["works"]
    done = run("test-connection", server.url, *secured, input="pümp 7\n", OPC_PKI_DIR=tmp_path / "pki")
    assert done.returncode == 0, done.stdout
    secret.write_text("hunter2secret")
    found = test_connection_json(tmp_path, server.url, *secured, "--password-file", secret, expect=78)
    assert found["failure"]["kind"] == "identity_rejected" and found["failure"]["step"] == "activate session"
    assert "hunter2secret" not in json.dumps(found)
    found = test_connection_json(tmp_path, server.url, "--security-policy", "Basic256Sha256", expect=78)
    assert found["failure"]["kind"] == "identity_rejected", "anonymous is nobody"


def test_a_user_certificate(tmp_path, make_server):
    made = tmp_path / "made"
    own = certificates.make(made, "server", uri=URI)
    operator, stranger = (certificates.make(made, name) for name in ("operator", "stranger"))
    server = make_server(
        1, security=security_of(own, "Basic256Sha256_SignAndEncrypt") | {"users": [str(operator.der)]}
    )
    run("trust", own.der, OPC_PKI_DIR=tmp_path / "pki")
    secured = ("--security-policy", "Basic256Sha256")
    right = ("--user-certificate", operator.der, "--user-key", operator.key)
    assert test_connection_json(tmp_path, server.url, *secured, *right)["works"]
    wrong = ("--user-certificate", stranger.der, "--user-key", stranger.key)
    found = test_connection_json(tmp_path, server.url, *secured, *wrong, expect=78)
    assert found["failure"]["kind"] == "identity_rejected" and found["failure"]["step"] == "activate session"
    mixed = ("--user-certificate", operator.der, "--user-key", stranger.key)
    found = test_connection_json(tmp_path, server.url, *secured, *mixed, expect=78)
    assert found["failure"]["kind"] == "invalid_configuration" and "does not belong" in found["failure"]["message"]


def test_failures_name_the_step_and_the_cure(tmp_path, make_server, make_proxy):
    server = make_server(1)
    found = test_connection_json(tmp_path, server.url, "--security-policy", "Basic256Sha256", expect=78)
    assert found["failure"]["kind"] == "no_matching_endpoint" and "None/None" in found["failure"]["cure"]
    found = test_connection_json(tmp_path, "opc.tcp://127.0.0.1:9", expect=69)
    assert found["failure"]["kind"] == "connect_failed" and found["failure"]["step"] == "connect"
    proxy = make_proxy(server.port)
    proxy.freeze()
    found = test_connection_json(tmp_path, f"opc.tcp://127.0.0.1:{proxy.port}", "--timeout", "1", expect=69)
    assert found["failure"]["kind"] == "timeout" and found["failure"]["step"] == "open secure channel"


@pytest.mark.parametrize(
    "arguments",
    [("http://127.0.0.1/",), ("opc.tcp://h", "--security-policy", "Basic999"), ("opc.tcp://a,opc.tcp://b",),
     ("opc.tcp://h", "--security-mode", "Sign"), ("opc.tcp://h", "--security-policy", "Basic256Sha256", "--security-mode", "x")],
)
@pytest.mark.parametrize("command", ["test-connection", "browse"])
def test_wrong_arguments_are_64(tmp_path, command, arguments):
    done = run(command, *arguments, OPC_PKI_DIR=tmp_path / "pki")
    assert done.returncode == 64 and not done.stdout and done.stderr.startswith("scada-ingestion: ")
    assert not (tmp_path / "pki").exists()


def test_browse_prints_mappings_that_the_database_takes(tenant, make_server, daemon):
    server = make_server(25)
    connection = tenant.add_connection(server, names=[])
    done = run("browse", server.url, "--sql", "--connection", connection, "--well", ANY_UUID, "--match", "tag000")
    assert done.returncode == 0, done.stderr
    statements = done.stdout.splitlines()
    assert len(statements) == 25 and "25 nodes" in done.stderr
    for statement in statements:
        tenant.sql.execute(statement.encode())
    # What was pasted runs as it is.
    daemon.start()
    tenant.wait_for_count(25, watch=daemon.must_live)
    names = {row[0] for row in tenant.sql.execute("SELECT DISTINCT tag_node_id FROM scada_readings").fetchall()}
    assert names == {f"nsu=urn:scada-ingestion:system-tests;s={name}" for name in server.names}


def test_browse_prints_what_add_connection_takes(tenant, make_server, daemon):
    server = make_server(12)
    done = run("browse", server.url, "--json", "--well", ANY_UUID, "--match", "Tag0")
    again = run("browse", server.url, "--json", "--well", ANY_UUID, "--match", "Tag0")
    assert done.returncode == 0 and done.stdout == again.stdout, "a tag keeps its id"
    daemon.start()
    request = daemon.api.message("AddConnectionRequest")
    # Read by protobuf's own JSON parser, as grpcurl does.
    json_format.ParseDict(
        {"connectionId": ANY_UUID, "tenantId": tenant.id, "endpointUrl": server.url, "securityMode": "None",
         "securityPolicy": "None", "tags": json.loads(done.stdout)},
        request,
    )
    answer = daemon.api.AddConnection(request)
    assert answer.success, answer.error
    tenant.wait_for_count(12, watch=daemon.must_live)


def test_browse_of_a_field(make_simulator):
    field = make_simulator(wells=40)
    done = run("browse", field.url, "--csv", "--values")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    assert len(rows) == 400 and len({row["opc_node_id"] for row in rows}) == 400
    assert all(row["quality"] == "Good" and row["value"] and row["data_type"] for row in rows)
    pressure, = (row for row in rows if row["opc_node_id"] == "nsu=urn:scada-simulator:field;s=Well-00007.CasingPressure")
    assert pressure["unit"] == "PSI" and pressure["path"] == "Wells/Well-00007/CasingPressure"

    indexed = run("browse", field.url, "ns=2;s=Well-00007", "--csv", "--namespace-index", "--limit", "4")
    assert [row["opc_node_id"].split(".")[0] for row in csv.DictReader(io.StringIO(indexed.stdout, newline=""))] \
        == ["ns=2;s=Well-00007"] * 4
    assert "there are more" in indexed.stderr

    table = run("browse", field.url, "--depth", "2", "--match", "well-0004")
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["node", "type", "unit", "path"] and len(lines) == 2
    assert lines[1].endswith("Wells/Well-00040") and "object" in lines[1]

    one = run("browse", field.url, "ns=2;s=Well-00007.CasingPressure", "--values")
    assert len(one.stdout.splitlines()) == 2, "a variable is listed itself"

    empty = run("browse", field.url, "--json", "--match", "no such thing")
    assert empty.returncode == 0 and json.loads(empty.stdout) == []

    missing = run("browse", field.url, "ns=2;s=Nobody")
    assert missing.returncode == 69 and "BadNodeIdUnknown" in missing.stderr and not missing.stdout


def test_browse_ends_when_nobody_reads_on_and_leaves_no_session(make_simulator):
    field = make_simulator(wells=300)
    command = subprocess.Popen(
        [str(part) for part in (DAEMON, "browse", field.url, "--csv")], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )
    command.stdout.readline()
    command.stdout.close()
    told = command.stderr.read()
    assert command.wait(30) == 0 and "nobody reads on" in told
    assert field.ask("stats")["sessions"] == 0
