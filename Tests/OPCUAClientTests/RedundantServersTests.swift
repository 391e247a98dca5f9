import NIOCore
import Testing

@testable import OPCUAClient

@Suite("Redundant servers")
struct RedundantServersTests {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    @Test func aSingleServerIsAlwaysTheOne() {
        var servers = RedundantServers(count: 1)
        #expect(servers.failed(now: Self.start) == false)
        #expect(servers.told(0, now: Self.start) == false)
        #expect(servers.current == 0)
    }

    @Test func theNextIsTriedAtOnceUntilAllHaveFailed() {
        var servers = RedundantServers(count: 3)
        #expect(servers.failed(now: Self.start) == true)
        #expect(servers.current == 1)
        #expect(servers.failed(now: Self.start + .seconds(1)) == true)
        #expect(servers.current == 2)
        #expect(servers.failed(now: Self.start + .seconds(2)) == false)
        #expect(servers.current == 0, "the one whose failure is the longest ago")
        #expect(servers.failed(now: Self.start + .seconds(3)) == false)
        #expect(servers.current == 1)
        servers.succeeded()
        #expect(servers.failed(now: Self.start + .seconds(4)) == false, "the others have failed")
        #expect(servers.current == 2)
    }

    @Test func anAilingServerIsLeftForOneThatMayBeWell() {
        var servers = RedundantServers(count: 2)
        #expect(servers.told(200, now: Self.start) == false)
        #expect(servers.told(199, now: Self.start) == true)
        #expect(servers.current == 1)
    }

    @Test func amongAilingServersTheBestIsKept() {
        var servers = RedundantServers(count: 3)
        #expect(servers.told(100, now: Self.start) == true)
        #expect(servers.current == 1)
        #expect(servers.told(50, now: Self.start) == true)
        #expect(servers.current == 2)
        #expect(servers.told(80, now: Self.start) == true)
        #expect(servers.current == 0, "100 is the best they told")
        #expect(servers.told(100, now: Self.start) == false)
        let later = Self.start + RedundantServers.believed + .seconds(1)
        #expect(servers.told(100, now: later) == true, "the others may have recovered")
    }

    @Test func aServerThatCannotBeReachedIsNotPreferred() {
        var servers = RedundantServers(count: 2)
        _ = servers.failed(now: Self.start)
        #expect(servers.current == 1)
        #expect(servers.told(10, now: Self.start + .seconds(1)) == false)
        #expect(servers.current == 1)
    }
}
