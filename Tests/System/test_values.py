"""What becomes of each kind of OPC UA value in the table, from a real server."""
import json
import math
import select
import subprocess
import sys
import uuid

import pytest

from private_postgres import free_port, with_parent
from support.paths import SYSTEM

FLOW = {"Rate": 1.5, "Unit": "m3/h"}

# name: (value, value_text); a text that is a list or an object is compared as JSON.
EXPECTED = {
    "Boolean": (1, None), "SByte": (-128, None), "Byte": (255, None), "Int16": (-32768, None), "UInt16": (65535, None),
    "Int32": (-2147483648, None), "UInt32": (4294967295, None), "Int64": (-5, None), "UInt64": (5, None),
    "LargeInt64": (9007199254740992, "9007199254740993"), "LargeUInt64": (18446744073709551616, "18446744073709551615"),
    "Float": (0.5, None), "Double": (1.25e300, None), "NaN": (math.nan, None), "Infinity": (math.inf, None),
    "MinusInfinity": (-math.inf, None), "StatusCode": (0x80340000, None), "Enumeration": (2, None),
    "String": (None, "Öl \"7\"\n"), "EmptyString": (None, ""), "DateTime": (None, "2026-01-02T03:04:05.678901Z"),
    "Guid": (None, "6f2c9c1e-3b0e-4a53-9a0f-0b8f9f3f0001"), "ByteString": (None, "AAH/"),
    "XmlElement": (None, "<a>1</a>"), "NodeId": (None, "ns=2;s=Tag"), "QualifiedName": (None, "2:Name"),
    "LocalizedText": (None, "offen"),
    "Int32Array": (None, [1, -2, 3]), "EmptyArray": (None, []), "DoubleArray": (None, [1.5, "nan"]),
    "StringArray": (None, ["a", "b\"c"]), "Matrix": (None, [[1, 2, 3], [4, 5, 6]]), "VariantArray": (None, [1, "x"]),
    "Range": (None, {"Low": 0.0, "High": 100.0}),
    "Pump": (None, {
        "Name": "P-1", "Mode": 2, "Main": FLOW, "Others": [FLOW, {"Rate": 2.0, "Unit": "l/s"}], "Counts": [1, 2],
        "Serial": 9007199254740993,
    }),
    "Optional": (None, {"Always": 1, "Rarely": 2.5}), "Union": (None, {"Text": "t"}), "Flows": (None, [FLOW, FLOW]),
}


class ValuesServer:
    def __init__(self, folder):
        port = free_port()
        self.url = f"opc.tcp://127.0.0.1:{port}/values"
        self.errors = open(folder / "values-server.log", "ab")
        self.process = subprocess.Popen(
            with_parent(sys.executable, SYSTEM / "support" / "values_server.py", str(port), ending="KILL"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0,
        )
        answer = self._answer()
        self.namespace, self.names = answer["namespace"], answer["names"]

    def _answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], 120)
        assert ready, f"the OPC UA server did not answer, see {self.errors.name}"
        return json.loads(self.process.stdout.readline())

    def node(self, name):
        return f"ns={self.namespace};s={name}"

    def well(self, name):
        return uuid.uuid5(uuid.NAMESPACE_URL, "well/values")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


@pytest.fixture
def values_server(tmp_path):
    server = ValuesServer(tmp_path)
    yield server
    server.close()


def same(number, expected):
    if number is None or expected is None or not math.isnan(expected):
        return number == expected
    return math.isnan(number)


@pytest.mark.both_databases
def test_every_kind_of_value_is_stored_as_documented(tenant, daemon, values_server):
    assert set(values_server.names) == set(EXPECTED)
    tenant.add_connection(values_server)
    daemon.start()
    tenant.wait_for_count(len(EXPECTED), watch=daemon.must_live)
    # The first value of a structure, which comes before its type is known, is no exception: there is no other.
    rows = tenant.sql.execute("SELECT tag_node_id, value, value_text FROM scada_readings").fetchall()
    assert len(rows) == len(EXPECTED)
    wrong = {}
    for node, number, text in rows:
        name = node.split(";s=")[1]
        expected = EXPECTED[name]
        read = json.loads(text) if isinstance(expected[1], (list, dict)) and (text or "")[:1] in ("[", "{") else text
        if not same(number, expected[0]) or read != expected[1]:
            wrong[name] = (number, text)
    assert wrong == {}
