import Testing

@testable import OPCUACodec

@Suite("Text forms")
struct TextTests {
    @Test(arguments: [
        ("i=85", NodeId(85)), ("ns=2;s=Well-00001.CasingPressure", NodeId(2, "Well-00001.CasingPressure")),
        ("ns=3;i=4294967295", NodeId(3, 4_294_967_295)), ("ns=1;s=a;b=c", NodeId(1, "a;b=c")),
        (
            "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a",
            NodeId(namespaceIndex: 1, identifier: .guid(Guid("09087E75-8E5E-499B-954F-F2A9603DB28A")!))
        ),
        ("ns=1;b=AQID", NodeId(namespaceIndex: 1, identifier: .opaque([1, 2, 3]))),
    ])
    func nodeIds(_ text: String, _ nodeId: NodeId) throws {
        #expect(try NodeIdText(parsing: text).resolved(namespaces: []) == nodeId)
        #expect(nodeId.description == text)
    }

    @Test(arguments: [
        "", "i", "i=", "i=-1", "i=+1", "i=4294967296", "ns=;i=1", "ns=65536;i=1", "ns=1", "ns=1;", "ns=1;x=1", "s=",
        "g=1", "g=09087e75-8e5e-499b-954f-f2a9603db28", "b=", "b=A", "b=****", "nsu=;i=1", "nsu=urn:x", " i=1",
        "ns=1;s=\0",
    ])
    func refusesMalformedNodeIds(_ text: String) {
        #expect(throws: NodeIdTextError.self) { try NodeIdText(parsing: text) }
    }

    @Test func namespaceURIsResolveAgainstTheTable() throws {
        let id = try NodeIdText(parsing: "nsu=urn:a%3Bb;s=x")
        #expect(id.resolved(namespaces: ["http://opcfoundation.org/UA/", "urn:a;b"]) == NodeId(1, "x"))
        #expect(id.resolved(namespaces: ["http://opcfoundation.org/UA/"]) == nil)
    }

    @Test func statusCodesHaveNames() {
        #expect(StatusCode.badNodeIdUnknown.description == "BadNodeIdUnknown (0x80340000)")
        #expect(StatusCode(rawValue: 0x8034_0480).description == "BadNodeIdUnknown (0x80340480)")
        #expect(StatusCode(rawValue: 0x0000_0480).hasOverflow)
        #expect(!StatusCode.badNodeIdUnknown.hasOverflow)
    }

    @Test(arguments: ["", "f", "fo", "foo", "foob", "fooba", "foobar"])
    func base64RoundTrips(_ text: String) {
        #expect(Base64.decode(Base64.encode(text.utf8).utf8) == Array(text.utf8))
    }

    @Test func base64OfRFC4648() {
        #expect(Base64.encode("foobar".utf8) == "Zm9vYmFy")
        #expect(Base64.encode("fo".utf8) == "Zm8=")
        #expect(Base64.decode("Zm9=Zm9v".utf8) == nil)
        #expect(Base64.decode("====".utf8) == nil)
    }
}
