import Glibc
import Synchronization
import Testing

@testable import TimescaleStore

@Suite struct DatabaseThreadTests {
    private static let isFreed = Atomic(false)

    /// What belongs to a thread is freed after its body has returned: that, too, has to be over. Kerberos below libpq frees it
    /// a second time when the process ends meanwhile, and aborts.
    @Test func endsOnlyWhenWhatBelongedToTheThreadIsFreed() async throws {
        var key = pthread_key_t()
        pthread_key_create(&key) { _ in
            usleep(50_000)
            DatabaseThreadTests.isFreed.store(true, ordering: .releasing)
        }
        let own = key
        let thread = try DatabaseThread(name: "test") { pthread_setspecific(own, UnsafeRawPointer(bitPattern: 1)) }
        await thread.end(by: .now + .seconds(60))
        let isFreed = Self.isFreed.load(ordering: .acquiring)
        #expect(isFreed)
        // Again, it has nothing to wait for.
        await thread.end(by: .now + .seconds(60))
    }

    @Test func isNotWaitedForLongerThanAllowed() async throws {
        let wake = try Wake()
        let thread = try DatabaseThread(name: "test") { wake.wait(until: nil) }
        await thread.end(by: .now)
        wake.ring()
        await thread.end(by: .now + .seconds(60))
    }
}
