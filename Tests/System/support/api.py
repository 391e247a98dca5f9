"""The management API's two kinds of clients: one generated from the original proto file, one from Proto/scada.proto.

Both files declare the same names, so the second lives in a descriptor pool of its own.
"""
import importlib
import pathlib
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from .paths import ORIGINAL_PROTO, PROTO
from .wait import eventually

_generated = {}
CALL_TIMEOUT = 20


def _protoc(*arguments):
    status = protoc.main(["protoc", *[str(each) for each in arguments]])
    assert status == 0, f"protoc {arguments} failed"


def original():
    """(messages, services): modules generated from the original proto, as the platform's own client has them."""
    if "original" not in _generated:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="scada-stubs-"))
        _protoc(f"-I{ORIGINAL_PROTO.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}", ORIGINAL_PROTO)
        sys.path.insert(0, str(folder))
        names = ("scada_original_pb2", "scada_original_pb2_grpc")
        _generated["original"] = tuple(importlib.import_module(name) for name in names)
    return _generated["original"]


class FullAPI:
    """Calls every method of Proto/scada.proto: `api.ListGaps(tenant_id=…)`. Stream answers come as an iterator."""

    def __init__(self, channel, metadata=None):
        if "full" not in _generated:
            file = pathlib.Path(tempfile.mkdtemp(prefix="scada-descriptor-")) / "set"
            _protoc(f"-I{PROTO.parent}", f"--descriptor_set_out={file}", "--include_imports", PROTO)
            pool = descriptor_pool.DescriptorPool()
            for each in descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes()).file:
                pool.Add(each)
            _generated["full"] = pool
        self._pool = _generated["full"]
        self._channel = channel
        self._metadata = metadata
        self._service = self._pool.FindServiceByName("scada.ScadaService")

    def message(self, name, /, **fields):
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"scada.{name}"))(**fields)

    def __getattr__(self, name):
        method = self._service.methods_by_name.get(name)
        if method is None:
            raise AttributeError(name)
        answer = message_factory.GetMessageClass(method.output_type)
        make = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
        call = make(
            f"/scada.ScadaService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )

        def invoke(request=None, /, timeout=CALL_TIMEOUT, **fields):
            request = request or self.message(method.input_type.name, **fields)
            return call(request, timeout=timeout, metadata=self._metadata)

        return invoke


class OriginalAPI:
    """The original client. `api.pb` has its messages; methods as in the generated stub."""

    def __init__(self, channel):
        self.pb, services = original()
        self._stub = services.ScadaServiceStub(channel)

    def __getattr__(self, name):
        method = getattr(self._stub, name)

        def invoke(request=None, **fields):
            return method(request or getattr(self.pb, f"{name}Request")(**fields), timeout=CALL_TIMEOUT)

        return invoke


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
