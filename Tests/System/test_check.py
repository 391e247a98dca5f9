"""`scada-ingestion check` against planted faults: it finds each and names the cure."""
import datetime
import ipaddress
import json
import pathlib
import socket

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.daemon import ENCRYPTION_KEY, Daemon, run
from support.tenancy import ANY_UUID

from private_postgres import free_port

NOBODY = "postgresql://nobody:wrong@127.0.0.1:1/none"


class Place:
    """What a check is given: the settings of a daemon that is about to be started, all of them good."""

    def __init__(self, platform, folder):
        self.platform, self.folder = platform, folder
        self.tenant = platform.add_tenant("north")
        self.variables = {
            "DATABASE_URL": platform.master_url, "METRICS_PORT": free_port(), "METRICS_HOST": "127.0.0.1",
            "GRPC_PORT": free_port(), "JOURNAL_DIR": folder / "journal", "OPC_PKI_DIR": folder / "pki",
            "ENCRYPTION_KEY": ENCRYPTION_KEY, "JOURNAL_MAX_BYTES": "1MiB", "DB_MAX_CONNECTIONS": 5,
        }
        self.connection = self.row(
            "scada_connections", id=ANY_UUID, name="Battery 7", endpoint_url="opc.tcp://127.0.0.1:4840",
            security_mode="None", security_policy="None",
        )
        self.row(
            "tag_mappings", id=ANY_UUID, connection_id=ANY_UUID, well_id=ANY_UUID, opc_node_id="ns=2;s=Well-1/Pressure",
            data_type="Double",
        )
        self.open = []

    def row(self, table, **columns):
        self.tenant.sql.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})",
            list(columns.values()),
        )

    def check(self):
        """(exit code, findings)."""
        done = run("check", "--json", **self.variables)
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        # For people: the same, a line each.
        lines = run("check", **self.variables).stdout
        for finding in report["findings"]:
            if finding["level"] != "ok":
                assert finding["subject"] in lines and (finding.get("cure") or "") in lines, (finding, lines)
        return done.returncode, report["findings"]

    def close(self):
        for each in self.open:
            each.close()


@pytest.fixture
def place(platform, tmp_path):
    place = Place(platform, tmp_path)
    yield place
    place.close()


def certificate(folder, name, days, key=None):
    """A certificate that ends in so many days, and its key, as PEM files; returns both paths and the key."""
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400)).not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([
                x509.UniformResourceIdentifier("urn:test:scada-ingestion"),
                x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            ]), critical=False,
        ).sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    paths[1].chmod(0o600)
    return *paths, key


# The faults. Each plants itself into a good place.

def a_variable_that_makes_no_sense(place):
    place.variables["AGGREGATION_BUFFER_MS"] = "soon"


def a_master_database_that_is_not_there(place):
    place.variables["DATABASE_URL"] = NOBODY


def a_master_database_without_schema(place):
    place.variables["DATABASE_URL"] = place.platform.server.create_database(f"{place.platform.master_name}_empty")


def a_tenant_whose_database_does_not_exist(place):
    place.platform.add_tenant("south", url=place.platform.server.url("no_such_database"))


def a_tenant_that_was_not_migrated(place):
    place.platform.add_tenant("south", migrated=False)


def two_tenants_in_one_database(place):
    place.platform.add_tenant("south", url=place.tenant.url)


def a_user_who_may_not_write(place):
    role = f"reader_{place.platform.master_name}"
    place.tenant.sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
    place.tenant.sql.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    database = place.tenant.url.rsplit("/", 1)[1]
    place.platform.execute(
        "UPDATE tenants SET database_url = %s",
        f"postgresql://{role}:reader@127.0.0.1:{place.platform.server.port}/{database}",
    )


def a_connection_that_cannot_be_used(place):
    place.tenant.sql.execute("UPDATE scada_connections SET endpoint_url = 'http://10.0.7.2'")


def a_node_id_that_is_none(place):
    place.tenant.sql.execute("UPDATE tag_mappings SET opc_node_id = 'Pressure of well 1'")


def a_password_without_its_key(place):
    encrypted = run("encrypt-secret", input="pump", **place.variables).stdout.strip()
    place.tenant.sql.execute("UPDATE scada_connections SET username = 'operator', password = %s", [encrypted])
    del place.variables["ENCRYPTION_KEY"]


def a_password_in_plain_text(place):
    place.tenant.sql.execute("UPDATE scada_connections SET username = 'operator', password = 'pump'")


def a_journal_that_is_a_file(place):
    pathlib.Path(place.variables["JOURNAL_DIR"]).write_text("not a folder", encoding="utf-8")


def a_journal_that_somebody_has(place):
    daemon = Daemon(place.folder / "daemon", place.platform.master_url)
    place.open.append(daemon)
    daemon.start()
    place.variables["JOURNAL_DIR"] = daemon.variables["JOURNAL_DIR"]


def a_disk_that_is_too_small(place):
    place.variables["JOURNAL_MAX_BYTES"] = "16TiB"


def an_own_certificate_that_has_expired(place):
    assert run("certificate", "create", **place.variables).returncode == 0
    own = pathlib.Path(place.variables["OPC_PKI_DIR"]) / "own"
    key = serialization.load_pem_private_key(next((own / "private").iterdir()).read_bytes(), None)
    path, _, _ = certificate(place.folder, "scada-ingestion", -1, key)
    der = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    next((own / "certs").iterdir()).write_bytes(der)


def a_tls_certificate_of_another_key(place):
    place.variables["GRPC_TLS_CERT"], _, _ = certificate(place.folder, "api", 300)
    _, place.variables["GRPC_TLS_KEY"], _ = certificate(place.folder, "other", 300)


def a_tls_certificate_that_soon_ends(place):
    place.variables["GRPC_TLS_CERT"], place.variables["GRPC_TLS_KEY"], _ = certificate(place.folder, "api", 5)


def tokens_that_are_none(place):
    path = place.folder / "tokens"
    path.write_text("a token in plain text\n", encoding="utf-8")
    place.variables["GRPC_TOKENS_FILE"] = path


def a_port_that_is_taken(place):
    listener = socket.create_server(("127.0.0.1", 0))
    place.open.append(listener)
    place.variables["METRICS_PORT"] = listener.getsockname()[1]


def an_api_that_is_open_to_everybody(place):
    place.variables |= {"GRPC_ALLOW_INSECURE": "true", "GRPC_HOST": "0.0.0.0"}


# (fault, exit code, level, in the subject, in the message, in the cure)
FAULTS = [
    (a_variable_that_makes_no_sense, 78, "fail", "configuration", "AGGREGATION_BUFFER_MS", None),
    (a_master_database_that_is_not_there, 69, "fail", "master database", "refused", "check that the server runs"),
    (a_master_database_without_schema, 69, "fail", "master database", "tenants", "run scada-ingestion migrate"),
    (a_tenant_whose_database_does_not_exist, 69, "fail", "south", "does not exist", "CREATE DATABASE"),
    (a_tenant_that_was_not_migrated, 0, "warn", "south", "schema lacks", "run scada-ingestion migrate"),
    (two_tenants_in_one_database, 69, "fail", "database", "north and south", "a database of its own"),
    (a_user_who_may_not_write, 69, "fail", "north", "INSERT on scada_readings", "grant it"),
    (a_connection_that_cannot_be_used, 69, "fail", "north", "http://10.0.7.2", "correct the row"),
    (a_node_id_that_is_none, 69, "fail", "north", "Pressure of well 1", "correct the row"),
    (a_password_without_its_key, 69, "fail", "north", "ENCRYPTION_KEY", "ENCRYPTION_KEY"),
    (a_password_in_plain_text, 0, "warn", "north", "plain text", "migrate --reencrypt"),
    (a_journal_that_is_a_file, 78, "fail", "journal", "not a folder", "JOURNAL_DIR"),
    (a_journal_that_somebody_has, 0, "warn", "journal", "a daemon is running", "end it"),
    (a_disk_that_is_too_small, 0, "warn", "journal", "are free", "JOURNAL_MAX_TOTAL_BYTES"),
    (an_own_certificate_that_has_expired, 78, "fail", "certificates", "expired on", "certificate renew"),
    (a_tls_certificate_of_another_key, 78, "fail", "gRPC TLS", "belong", "GRPC_TLS_KEY"),
    (a_tls_certificate_that_soon_ends, 0, "warn", "gRPC TLS", "expires in", "replace it"),
    (tokens_that_are_none, 78, "fail", "gRPC tokens", "tokens", "GRPC_TOKENS_FILE"),
    (a_port_that_is_taken, 78, "fail", "metrics port", "METRICS_PORT", None),
    (an_api_that_is_open_to_everybody, 0, "warn", "gRPC API", "may add and remove connections", "GRPC_TOKENS_FILE"),
]


def test_without_a_fault_nothing_is_found(place):
    code, findings = place.check()
    bad = [each for each in findings if each["level"] != "ok"]
    # A private server offers TimescaleDB or not, and says so.
    assert code == 0 and not [each for each in bad if "TimescaleDB" not in each["message"]], bad
    assert any("1 tenant with 1 connection and 1 tag" in each["message"] for each in findings), findings


@pytest.mark.parametrize("fault, code, level, subject, message, cure", FAULTS, ids=[each[0].__name__ for each in FAULTS])
def test_a_planted_fault_is_found_and_its_cure_is_named(place, fault, code, level, subject, message, cure):
    fault(place)
    found_code, findings = place.check()
    found = [
        each for each in findings
        if each["level"] == level and subject in each["subject"] and message in each["message"]
        and (cure is None or cure in (each.get("cure") or ""))
    ]
    assert found, [each for each in findings if each["level"] != "ok"]
    assert found_code == code, findings
    # What is good is not blamed: one fault makes few findings.
    failures = [each for each in findings if each["level"] == "fail"]
    assert len(failures) <= 2, failures
