package import SystemPackage

/// What a tenant's journal does when there is no room for another record.
package enum JournalFullPolicy: Sendable, Equatable {
    /// `append` waits until rows were forgotten: the OPC UA servers queue, and no reading in the journal is lost.
    case stopReading
    /// The oldest segments are given up, each record in them reported, so that the newest readings go on.
    case dropOldest
}

/// Settings of a ``JournalDirectory``; all sizes are bytes.
package struct JournalConfiguration: Sendable {
    /// JOURNAL_DIR.
    package var path: String
    /// JOURNAL_SYNC_MS: at most one group sync in this time, unless much is pending.
    package var syncInterval: Duration = .milliseconds(50)
    /// JOURNAL_MAX_BYTES: most that a tenant's segments take on disk, but for the headers (256 bytes each) of segments that
    /// records already accepted turn out to need.
    package var maximumBytesPerTenant: Int = 1 << 30
    /// Most that all tenants' segments take on disk; nil: only the disk bounds it. Half of it is guaranteed to the tenants
    /// in equal shares.
    package var maximumBytes: Int?
    /// Most bytes of one tenant, and of all, that wait in memory to become durable.
    package var maximumPendingBytesPerTenant: Int = 8 << 20
    package var maximumPendingBytes: Int = 64 << 20
    /// Most bytes of memory that all tenants' durable records take until they are stored, so that a flush need not read them
    /// from the files.
    package var maximumRecentBytes: Int = 24 << 20
    /// A segment is sealed at this size (never more than a quarter of ``maximumBytesPerTenant``), and when everything in it
    /// is forgotten and it has at least ``forgottenSegmentBytes``.
    package var segmentBytes: Int = 16 << 20
    package var forgottenSegmentBytes: Int = 1 << 20
    /// What ``TenantJournal/append(_:priority:)`` with priority `.reserve` may use beyond ``maximumBytesPerTenant``.
    package var reserveBytesPerTenant: Int = 16 << 20
    package var fullPolicy: JournalFullPolicy = .stopReading
    /// Up to this many dirty files are synced one by one, more by one syncfs(2).
    package var maximumIndividualSyncs: Int = 4
    /// Open segment files kept between syncs.
    package var maximumOpenFiles: Int = 256
    /// First delay before a failed write is tried again; doubles to ``maximumRetryDelay``.
    package var retryDelay: Duration = .milliseconds(100)
    package var maximumRetryDelay: Duration = .seconds(5)
    package var observer = JournalObserver()
    package var fileSystem: any JournalFileSystem = POSIXFileSystem()

    package init(path: String) {
        self.path = path
    }

    /// The size at which a segment is sealed: a quarter of the bound at most, so that forgetting frees room in time.
    var effectiveSegmentBytes: Int { max(4096, min(segmentBytes, maximumBytesPerTenant / 4)) }
}

/// How a group of dirty files was made durable.
package enum JournalSyncMethod: Sendable, Equatable {
    case files(Int)
    case fileSystem
}

/// Called on the journal thread: must be cheap and must not wait.
package struct JournalObserver: Sendable {
    /// A group sync that succeeded: how long it took and how many bytes it made durable.
    package var onSync: @Sendable (_ duration: Duration, _ method: JournalSyncMethod, _ bytes: Int) -> Void = {
        _,
        _,
        _ in
    }
    /// Something failed and will be tried again, or a file could not be removed.
    package var onError: @Sendable (_ error: JournalError) -> Void = { _ in }

    package init() {}
}

/// Counters since the directory was opened.
package struct JournalStatistics: Sendable, Equatable {
    /// fdatasync(2) and fsync(2) calls, and syncfs(2) calls.
    package var fileSyncs = 0
    package var fileSystemSyncs = 0
    /// Cycles in which something was made durable.
    package var groupSyncs = 0
    package var syncFailures = 0
    package var writeFailures = 0
    package var recordsWritten = 0
    package var bytesWritten = 0
    package var segmentsCreated = 0
    /// Of those, in a file that an earlier segment had left.
    package var segmentsReused = 0
    package var segmentsRemoved = 0
    /// Wakeups of the journal thread: it has none while nothing is pending.
    package var cycles = 0
}

/// Whether a tenant's journal takes records.
package enum JournalState: Sendable, Equatable, CustomStringConvertible {
    case open
    /// `append` waits, or with `.dropOldest` old segments are being given up.
    case full(FullReason)
    /// Writing or syncing fails; it is tried again with growing delays.
    case stalled(JournalErrorSummary)
    case closed

    package enum FullReason: Sendable, Equatable {
        /// ``JournalConfiguration/maximumBytesPerTenant``.
        case tenantLimit
        /// ``JournalConfiguration/maximumBytes``.
        case directoryLimit
        /// The operating system has no space, or the quota is used up.
        case disk
    }

    /// Why it stalls, comparable.
    package struct JournalErrorSummary: Sendable, Equatable {
        package var message: String
        package var cause: Errno?
    }

    package var description: String {
        switch self {
        case .open: "open"
        case .full(.tenantLimit): "full: the tenant's journal has reached JOURNAL_MAX_BYTES"
        case .full(.directoryLimit): "full: all journals together have reached their bound"
        case .full(.disk): "full: the disk or its quota is full"
        case .stalled(let reason): "stalled: \(reason.message)"
        case .closed: "closed"
        }
    }
}
