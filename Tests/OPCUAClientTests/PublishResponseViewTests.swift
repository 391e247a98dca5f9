import NIOCore
import OPCUACodec
import Testing

@testable import OPCUAClient

@Suite("Publish response in place")
struct PublishResponseViewTests {
    static let change = DataChangeNotification(
        monitoredItems: [
            MonitoredItemNotification(clientHandle: 3, value: DataValue(.double(1.5))),
            MonitoredItemNotification(clientHandle: 4, value: DataValue(.string("x"), status: .badNodeIdUnknown)),
        ]
    )

    static func message(_ data: [ExtensionObject], number: UInt32 = 42) -> NotificationMessage {
        NotificationMessage(sequenceNumber: number, publishTime: DateTime(ticks: 77), notificationData: data)
    }

    static let response = PublishResponse(
        responseHeader: ResponseHeader(requestHandle: 5),
        subscriptionId: 7,
        availableSequenceNumbers: [40, 41, 42],
        moreNotifications: true,
        notificationMessage: message([
            ExtensionObject(change), ExtensionObject(StatusChangeNotification(status: .badTimeout)),
            ExtensionObject(typeId: NodeId(2, 9), body: .xml([1, 2])), .null,
        ]),
        results: [.good, .badSequenceNumberUnknown]
    )

    /// What the view says about `bytes`, in words.
    static func read(_ bytes: [UInt8]) throws(DecodingError) -> (view: PublishResponseView, parts: [String]) {
        let result: Result<(PublishResponseView, [String]), DecodingError> = bytes.withUnsafeBytes { region in
            do throws(DecodingError) {
                let view = try PublishResponseView(region)
                var parts: [String] = []
                try view.forEachPart(in: region) { (part) throws(DecodingError) in
                    switch part {
                    case .dataChange(let content):
                        var decoder = BinaryDecoder(content)
                        let change = try DataChangeNotification(from: &decoder)
                        parts.append(
                            "change " + change.monitoredItems.map { "\($0.clientHandle)" }.joined(separator: ",")
                        )
                    case .statusChange(let status): parts.append("status \(status.rawValue)")
                    case .other(let type): parts.append("other \(type)")
                    }
                }
                return .success((view, parts))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    @Test func readsAPublishResponse() throws {
        let bytes = Self.response.messageBody
        let (view, parts) = try Self.read(bytes)
        #expect(view.subscriptionID == 7)
        #expect(view.sequenceNumber == 42)
        #expect(view.publishTime == DateTime(ticks: 77))
        #expect(view.moreNotifications)
        #expect(!view.isKeepAlive)
        #expect(!view.isFault)
        #expect(parts == ["change 3,4", "status \(StatusCode.badTimeout.rawValue)", "other ns=2;i=9", "other i=0"])
        #expect(bytes.withUnsafeBytes { view.availableSequenceNumbers(in: $0) } == [40, 41, 42])
    }

    @Test func readsARepublishResponse() throws {
        let republished = RepublishResponse(
            notificationMessage: Self.message([ExtensionObject(Self.change)], number: 9)
        )
        let (view, parts) = try Self.read(republished.messageBody)
        #expect(view.sequenceNumber == 9)
        #expect(parts == ["change 3,4"])
    }

    @Test func knowsAKeepAlive() throws {
        let (view, parts) = try Self.read(
            PublishResponse(subscriptionId: 7, notificationMessage: Self.message([])).messageBody
        )
        #expect(view.isKeepAlive)
        #expect(parts.isEmpty)
    }

    @Test func readsFaultsAndBadResults() throws {
        let header = ResponseHeader(serviceResult: .badNoSubscription)
        let fault = try Self.read(ServiceFault(responseHeader: header).messageBody).view
        #expect(fault.isFault)
        #expect(fault.serviceResult == .badNoSubscription)
        let bad = try Self.read(PublishResponse(responseHeader: header).messageBody).view
        #expect(!bad.isFault)
        #expect(bad.serviceResult == .badNoSubscription)
    }

    @Test func refusesAnotherResponse() {
        let error = #expect(throws: DecodingError.self) { try Self.read(ReadResponse().messageBody) }
        #expect(error?.code == .unexpectedType)
    }

    @Test func truncatedAtEveryByteItThrows() {
        let bytes = Self.response.messageBody
        let end = try! Self.read(bytes).view
        for length in 0..<bytes.count {
            // What follows the notifications (results, diagnostics) is not read.
            if let (view, parts) = try? Self.read(Array(bytes.prefix(length))) {
                #expect(view == end, "cut at \(length) of \(bytes.count)")
                #expect(parts.count == 4)
            }
        }
        let minimum = bytes.count - (4 + 8 + 4)
        #expect((try? Self.read(Array(bytes.prefix(minimum - 1)))) == nil)
        #expect((try? Self.read(Array(bytes.prefix(minimum)))) != nil)
    }

    @Test(arguments: [1, 7, 2026] as [UInt64])
    func hostileBytesNeverTrap(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let bytes = Self.response.messageBody
        for _ in 0..<5000 {
            var mutated = bytes
            for _ in 0...generator.next() % 4 {
                mutated[Int(generator.next() % UInt64(mutated.count))] = UInt8(truncatingIfNeeded: generator.next())
            }
            if let (view, _) = try? Self.read(mutated) {
                _ = mutated.withUnsafeBytes { view.availableSequenceNumbers(in: $0) }
            }
        }
    }
}
