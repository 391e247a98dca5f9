"""An OPC UA server with one variable of each kind of value for the tests, on asyncua, in a process of its own.

Run by test_values.py, not by hand: the argument is its port. Prints what it serves as one JSON line when it is ready, ends
when its standard input ends.
"""
import asyncio
import datetime
import json
import logging
import sys
import uuid

from asyncua import Server, ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

NAMESPACE = "urn:scada-ingestion:values"
MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)


def plain_values():
    kind = ua.VariantType
    return {
        "Boolean": (True, kind.Boolean), "SByte": (-128, kind.SByte), "Byte": (255, kind.Byte),
        "Int16": (-32768, kind.Int16), "UInt16": (65535, kind.UInt16), "Int32": (-2147483648, kind.Int32),
        "UInt32": (4294967295, kind.UInt32), "Int64": (-5, kind.Int64), "UInt64": (5, kind.UInt64),
        "LargeInt64": (9007199254740993, kind.Int64), "LargeUInt64": (18446744073709551615, kind.UInt64),
        "Float": (0.5, kind.Float), "Double": (1.25e300, kind.Double), "NaN": (float("nan"), kind.Double),
        "Infinity": (float("inf"), kind.Double), "MinusInfinity": (float("-inf"), kind.Double),
        "String": ("Öl \"7\"\n", kind.String), "EmptyString": ("", kind.String),
        "DateTime": (MOMENT, kind.DateTime),
        "Guid": (uuid.UUID("6f2c9c1e-3b0e-4a53-9a0f-0b8f9f3f0001"), kind.Guid),
        "ByteString": (b"\x00\x01\xff", kind.ByteString),
        "XmlElement": (ua.XmlElement("<a>1</a>"), kind.XmlElement),
        "NodeId": (ua.NodeId("Tag", 2), kind.NodeId), "StatusCode": (ua.StatusCode(0x80340000), kind.StatusCode),
        "QualifiedName": (ua.QualifiedName("Name", 2), kind.QualifiedName),
        "LocalizedText": (ua.LocalizedText("offen", "de"), kind.LocalizedText),
        "Int32Array": ([1, -2, 3], kind.Int32), "EmptyArray": ([], kind.Double),
        "DoubleArray": ([1.5, float("nan")], kind.Double), "StringArray": (["a", "b\"c"], kind.String),
        "Matrix": ([[1, 2, 3], [4, 5, 6]], kind.Int32),
        "VariantArray": ([ua.Variant(1, kind.Int32), ua.Variant("x", kind.String)], kind.Variant),
        "Range": (ua.Range(0.0, 100.0), kind.ExtensionObject),
    }


async def structures(server, namespace):
    mode = await new_enum(server, namespace, "Mode", ["Off", "Hand", "Auto"])
    inner, _ = await new_struct(server, namespace, "Flow", [
        new_struct_field("Rate", ua.VariantType.Double), new_struct_field("Unit", ua.VariantType.String),
    ])
    outer, _ = await new_struct(server, namespace, "Pump", [
        new_struct_field("Name", ua.VariantType.String), new_struct_field("Mode", mode),
        new_struct_field("Main", inner), new_struct_field("Others", inner, array=True),
        new_struct_field("Counts", ua.VariantType.UInt32, array=True),
        new_struct_field("Serial", ua.VariantType.Int64),
    ])
    optional, _ = await new_struct(server, namespace, "Optional", [
        new_struct_field("Always", ua.VariantType.Int32),
        new_struct_field("Maybe", ua.VariantType.String, optional=True),
        new_struct_field("Rarely", ua.VariantType.Double, optional=True),
    ])
    choice, _ = await new_struct(server, namespace, "Choice", [
        new_struct_field("Number", ua.VariantType.Double), new_struct_field("Text", ua.VariantType.String),
    ], is_union=True)
    await server.load_data_type_definitions()
    flow = ua.Flow(Rate=1.5, Unit="m3/h")
    text = ua.Choice()
    text.Text = "t"
    objects = {
        "Pump": ua.Pump(
            Name="P-1", Mode=ua.Mode.Auto, Main=flow, Others=[flow, ua.Flow(Rate=2.0, Unit="l/s")],
            Counts=[1, 2], Serial=9007199254740993,
        ),
        "Optional": ua.Optional(Always=1, Maybe=None, Rarely=2.5),
        "Union": text,
        "Flows": [flow, flow],
    }
    kinds = {"Pump": outer, "Optional": optional, "Union": choice, "Flows": inner}
    return {name: (value, kinds[name].nodeid) for name, value in objects.items()}, mode


async def main():
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{sys.argv[1]}/values")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    namespace = await server.register_namespace(NAMESPACE)
    anything = ua.NodeId(ua.ObjectIds.BaseDataType)
    values = {
        name: (ua.Variant(value, kind), anything if kind == ua.VariantType.Variant else None)
        for name, (value, kind) in plain_values().items()
    }
    described, mode = await structures(server, namespace)
    for name, (value, kind) in described.items():
        values[name] = (ua.Variant(value, ua.VariantType.ExtensionObject), kind)
    values["Enumeration"] = (ua.Variant(2, ua.VariantType.Int32), mode.nodeid)
    nodes = {}
    for name, (variant, kind) in values.items():
        nodes[name] = await server.nodes.objects.add_variable(
            ua.NodeId(name, namespace), ua.QualifiedName(name, namespace), variant, datatype=kind
        )
    await server.start()
    print(json.dumps({"namespace": namespace, "names": list(nodes)}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
