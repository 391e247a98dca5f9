"""The management API's two kinds of clients: one generated from the original proto file, one from Proto/scada.proto.

Both files declare the same names, so each has a descriptor pool of its own.
"""
import importlib
import pathlib
import sys
import tempfile
import unittest.mock

import grpc
from google.protobuf import descriptor_pool
from grpc_tools import protoc

from .paths import ORIGINAL_PROTO, PROTO
from .wait import eventually

_generated = {}
CALL_TIMEOUT = 20


def generated(proto):
    """(messages, services): the modules that protoc and its gRPC plugin generate from a proto file."""
    if proto not in _generated:
        folder = tempfile.mkdtemp(prefix="scada-stubs-")
        arguments = [f"-I{proto.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}", str(proto)]
        status = protoc.main(["protoc", *arguments])
        assert status == 0, f"protoc {arguments} failed"
        sys.path.insert(0, folder)
        pool = descriptor_pool.DescriptorPool()
        with unittest.mock.patch.object(descriptor_pool, "Default", lambda: pool):
            _generated[proto] = tuple(importlib.import_module(proto.stem + suffix) for suffix in ("_pb2", "_pb2_grpc"))
    return _generated[proto]


class API:
    """Calls the methods of a generated stub: `api.ListGaps(tenant_id=…)`, or with a message. Streams come as an iterator."""

    proto: pathlib.Path

    def __init__(self, channel, metadata=None):
        self._messages, services = generated(self.proto)
        self._stub = services.ScadaServiceStub(channel)
        self.file = self._messages.DESCRIPTOR
        self._service = self.file.services_by_name["ScadaService"]
        self._metadata = metadata

    def message(self, name, /, **fields):
        return getattr(self._messages, name)(**fields)

    def __getattr__(self, name):
        call = getattr(self._stub, name)

        def invoke(request=None, /, timeout=CALL_TIMEOUT, **fields):
            request = request or self.message(self._service.methods_by_name[name].input_type.name, **fields)
            return call(request, timeout=timeout, metadata=self._metadata)

        return invoke


class FullAPI(API):
    """Knows every method and every field."""

    proto = PROTO


class OriginalAPI(API):
    """Knows the original methods and fields, as the platform's own client does."""

    proto = ORIGINAL_PROTO


def fails_with(code, call, *mentions):
    """Asserts that `call` fails with a gRPC status code and that its message names each of `mentions`."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            answer = list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}"
        for each in mentions:
            assert each.lower() in error.details().lower(), f"{each!r} is not named in: {error.details()}"
        return error.details()
    raise AssertionError(f"expected {code}, got an answer: {answer}")


def reachable(channel, timeout=30):
    """Waits until the channel is connected."""
    future = grpc.channel_ready_future(channel)
    eventually(future.done, "the gRPC channel is connected", timeout)
    return channel
