package import SystemPackage

/// What went wrong with a journal, naming the thing and, where there is one, the cure.
package struct JournalError: Error, Sendable, CustomStringConvertible {
    /// Extensible: more codes may come, so a `switch` needs a `default`.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Value: String {
            case alreadyOwned, notWritable, alreadyOpen, closed, cancelled, recordTooLarge, diskFull, inputOutput
            case corruptRecord, missingSegment
        }

        private var value: Value

        private init(_ value: Value) {
            self.value = value
        }

        /// Another process owns the folder (exit code 75: a retry after it ended works).
        package static let alreadyOwned = Code(.alreadyOwned)
        /// The folder cannot be created or written (exit code 78).
        package static let notWritable = Code(.notWritable)
        /// This process has that tenant's journal open already.
        package static let alreadyOpen = Code(.alreadyOpen)
        /// The journal was closed.
        package static let closed = Code(.closed)
        /// The task that waited for room was cancelled; nothing was appended.
        package static let cancelled = Code(.cancelled)
        /// The record could never fit.
        package static let recordTooLarge = Code(.recordTooLarge)
        /// The file system or the user's quota is full.
        package static let diskFull = Code(.diskFull)
        /// The operating system refused to read, write or sync.
        package static let inputOutput = Code(.inputOutput)
        /// A record that was durable is no longer what was written.
        package static let corruptRecord = Code(.corruptRecord)
        /// A segment that should exist is gone.
        package static let missingSegment = Code(.missingSegment)

        package var description: String { value.rawValue }
    }

    package var code: Code
    package var message: String
    /// The file or folder it is about.
    package var path: String?
    /// What the operating system said.
    package var cause: Errno?
    /// The owner of the folder, for ``Code/alreadyOwned``, when it could be read.
    package var ownerProcessID: Int32?
    /// For a damaged or missing piece: where reading can go on. What lies before it, from where the reading began, is lost
    /// and wants a gap row.
    package var resumePosition: JournalPosition?
    package var file: String
    package var line: Int

    package init(
        _ code: Code,
        _ message: String,
        path: String? = nil,
        cause: Errno? = nil,
        ownerProcessID: Int32? = nil,
        resumePosition: JournalPosition? = nil,
        file: String = #fileID,
        line: Int = #line
    ) {
        self.code = code
        self.message = message
        self.path = path
        self.cause = cause
        self.ownerProcessID = ownerProcessID
        self.resumePosition = resumePosition
        self.file = file
        self.line = line
    }

    /// Whether the same call may succeed later without anybody changing the program or its configuration.
    package var isRetryable: Bool {
        [.alreadyOwned, .diskFull, .inputOutput, .cancelled].contains(code)
    }

    package var description: String {
        var text = "journal: \(message)"
        if let path { text += " (\(path))" }
        if let cause { text += ": \(cause)" }
        return text
    }

    /// An operating system's refusal to do `action` on `path`.
    static func system(
        _ action: String,
        _ path: String,
        _ cause: Errno,
        file: String = #fileID,
        line: Int = #line
    ) -> JournalError {
        if cause.isDiskFull {
            return JournalError(
                .diskFull,
                "cannot \(action), the disk or its quota is full: free space or raise the quota",
                path: path,
                cause: cause,
                file: file,
                line: line
            )
        }
        return JournalError(
            .inputOutput,
            "cannot \(action)",
            path: path,
            cause: cause,
            file: file,
            line: line
        )
    }
}

extension Errno {
    var isDiskFull: Bool { self == .noSpace || self == .diskQuotaExceeded || self == .fileTooLarge }
}
