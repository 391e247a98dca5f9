import ControlAPI
import Ingestion
import OPCUAClient
import OPCUACodec
import Testing
import TimescaleStore

@testable import scada_ingestion

/// What databases and OPC UA servers say, in the API's words.
struct BackendAnswerTests {
    // MARK: - Databases

    @Test(arguments: [
        (StoreError(.connection, "x"), ControlAPI.StatusCode.unavailable),
        (StoreError(.authentication, "x"), .unavailable),
        (StoreError(.contention, "x"), .unavailable), (StoreError(.readOnly, "x"), .unavailable),
        (StoreError(.closed, "x"), .unavailable), (StoreError(.outcomeUnknown, "x"), .unavailable),
        (StoreError(.resources, "x", sqlState: "53300"), .unavailable),
        (StoreError(.resources, "x"), .resourceExhausted),
        (StoreError(.schema, "x", sqlState: "3D000"), .unavailable),
        (StoreError(.schema, "x", sqlState: "42P01"), .failedPrecondition),
        (StoreError(.invalidPageToken, "x"), .invalidArgument), (StoreError(.invalidArgument, "x"), .invalidArgument),
        (StoreError(.cancelled, "x"), .cancelled), (StoreError(.internal, "secret row"), .internalError),
        (StoreError(.protocolViolation, "secret row"), .internalError),
    ])
    func everyFailureHasItsStatus(error: StoreError, code: ControlAPI.StatusCode) {
        let answer = DaemonBackend.answer(error, tenant: "North", isLate: false)
        #expect(answer.code == code)
        #expect(!answer.message.contains("secret"))
        if code == .unavailable || code == .failedPrecondition { #expect(answer.message.contains("North")) }
    }

    /// Whose patience ended: the caller's, or ours with a database that hangs.
    @Test func timeouts() {
        let error = StoreError(.timeout, "x")
        #expect(DaemonBackend.answer(error, tenant: "North", isLate: true).code == .deadlineExceeded)
        #expect(DaemonBackend.answer(error, tenant: "North", isLate: false).code == .unavailable)
    }

    @Test func pageTokenIsNamed() {
        let answer = DaemonBackend.answer(StoreError(.invalidPageToken, "x"), tenant: "North", isLate: false)
        #expect(answer.field == "page_token" && answer.message.hasPrefix("page_token: "))
    }

    @Test func timeForTheWork() {
        let caller = Caller(tenants: .all, identity: "x")
        let never = CallContext(caller: caller, method: "x", peer: "x", deadline: nil)
        #expect(DaemonBackend.timeout(never) == .seconds(30))
        #expect(DaemonBackend.timeout(never, atMost: .seconds(5)) == .seconds(5))
        let soon = CallContext(caller: caller, method: "x", peer: "x", deadline: .now + .seconds(10))
        #expect(DaemonBackend.timeout(soon) <= .seconds(10))
        let past = CallContext(caller: caller, method: "x", peer: "x", deadline: .now - .seconds(10))
        #expect(DaemonBackend.timeout(past) == .milliseconds(1))
    }

    // MARK: - Probes

    private static func failure(
        _ step: ConnectStep,
        _ code: OPCUAClientError.Code,
        _ message: String = "no"
    ) -> ProbeError {
        ProbeError(step: step, error: OPCUAClientError(code, message))
    }

    @Test(arguments: [
        (failure(.connect, .connectFailed, "cannot connect to h port 1: the name does not resolve"), "resolve"),
        (failure(.connect, .connectFailed, "cannot connect to h port 1: connection refused"), "tcp"),
        (failure(.connect, .protocolViolation), "hello"), (failure(.secureChannel, .security), "secure channel"),
        (failure(.endpoints, .noMatchingEndpoint), "endpoints"), (failure(.createSession, .serviceFault), "session"),
        (failure(.activateSession, .identityRejected), "identity"),
        (failure(.activateSession, .serviceFault), "session"),
        (failure(.read, .serviceFault), "read"), (failure(.browse, .serviceFault), "browse"),
    ])
    func stepsHaveTheWordsOfTheContract(error: ProbeError, word: String) {
        #expect(error.stepName == word)
    }

    @Test(arguments: [
        (failure(.connect, .connectFailed), ControlAPI.StatusCode.unavailable),
        (failure(.browse, .timeout), .unavailable),
        (failure(.browse, .serviceFault), .notFound), (failure(.browse, .invalidConfiguration), .notFound),
        (failure(.activateSession, .identityRejected), .failedPrecondition),
        (failure(.endpoints, .noMatchingEndpoint), .failedPrecondition),
        (failure(.secureChannel, .security), .failedPrecondition),
    ])
    func failedBrowsesHaveAStatus(error: ProbeError, code: ControlAPI.StatusCode) {
        #expect(error.answer.code == code)
        #expect(error.answer.message.hasPrefix(error.stepName))
    }

    private static func node(_ name: String, value: Variant? = nil) -> ProbedNode {
        var node = ProbedNode(
            nodeID: NodeId(namespaceIndex: 2, identifier: .string(name)),
            stableNodeID: "nsu=urn:x;s=\(name)",
            parent: NodeId(85),
            path: ["Pad", name],
            browseName: QualifiedName(name: name),
            displayName: name,
            nodeClass: .variable
        )
        node.dataTypeName = "Double"
        node.unit = "bar"
        node.isReadable = true
        node.value = value.map { DataValue($0, status: .good) }
        return node
    }

    @Test func variablesComeReadyToMap() {
        let node = BrowsedNode(Self.node("Pressure", value: .double(1.5)))
        #expect(
            node.nodeID == "nsu=urn:x;s=Pressure" && node.parentNodeID == "i=85" && node.browsePath == "Pad/Pressure"
        )
        #expect(node.nodeClass == "Variable" && node.dataType == "Double" && node.unit == "bar" && node.isReadable)
        #expect(node.value == "1.5" && node.quality == "Good")
        var folder = Self.node("Pad")
        folder.nodeClass = .object
        #expect(BrowsedNode(folder).dataType == nil && BrowsedNode(folder).nodeClass == "Object")
    }

    @Test(arguments: [
        (Variant.boolean(true), "true"), (.int32(-7), "-7"), (.uint64(.max), "18446744073709551615"),
        (.double(0.5), "0.5"),
        (.double(.nan), "nan"), (.string("on"), "on"), (.string(nil), ""), (.null, ""),
    ])
    func valuesAsText(value: Variant, text: String) {
        #expect(value.displayText == text)
    }

    /// Nodes that do not fit go to the next page, which begins where this one ended.
    @Test func pagesOfNodesAreBoundedByBytes() {
        let found = ProbedPage(nodes: (0..<100).map { Self.node("Tag\($0)") }, nextOffset: 1_100)
        let whole = BrowsePage(found, offset: 1_000, maxBytes: 1_000_000)
        #expect(whole.nodes.count == 100 && whole.nextPageToken == "1100")
        let cut = BrowsePage(found, offset: 1_000, maxBytes: 10_000)
        #expect(cut.nodes.count > 10 && cut.nodes.count < 100)
        #expect(cut.nextPageToken == "\(1_000 + cut.nodes.count)")
        #expect(cut.nodes.reduce(0) { $0 + $1.encodedSize } <= 10_000)
        #expect(BrowsePage(found, offset: 0, maxBytes: 1).nodes.count == 1)
        #expect(BrowsePage(ProbedPage(), offset: 0, maxBytes: 1).nextPageToken == nil)
    }

    @Test func endpointsInWords() {
        var endpoint = EndpointDescription()
        endpoint.endpointUrl = "opc.tcp://h"
        endpoint.securityMode = .signAndEncrypt
        endpoint.securityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
        endpoint.userIdentityTokens = [.userName, .anonymous, .userName].map { UserTokenPolicy(tokenType: $0) }
        endpoint.serverCertificate = [1, 2, 3]
        let details = EndpointDetails(endpoint, trusted: [[1, 2, 3]])
        #expect(details.securityMode == "SignAndEncrypt" && details.securityPolicy == "Basic256Sha256")
        #expect(details.userTokenTypes == ["UserName", "Anonymous"])
        // Not a certificate: told as far as it goes.
        #expect(details.isCertificateTrusted && details.certificateThumbprint.isEmpty)
        endpoint.securityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#Basic256"
        #expect(EndpointDetails(endpoint, trusted: []).securityPolicy == endpoint.securityPolicyUri)
        #expect(!EndpointDetails(endpoint, trusted: []).isCertificateTrusted)
    }
}
