import ArgumentParser
import Glibc

/// Exit codes of every command (sysexits.h); 0 is success, 64 wrong usage, which the argument parser gives by itself.
extension ExitCode {
    static let usage = ExitCode(EX_USAGE)
    /// 69: a database or another service is not there, or refuses.
    static let unavailable = ExitCode(EX_UNAVAILABLE)
    /// 78: the configuration is wrong.
    static let configuration = ExitCode(EX_CONFIG)
}

/// What commands say to people. Unbuffered, so that progress shows through a pipe as it happens.
enum Console {
    /// A result: standard output.
    static func output(_ line: String) { write(line + "\n", to: STDOUT_FILENO) }

    /// A problem or a remark: standard error, after the program's name.
    static func error(_ line: String) { write("scada-ingestion: \(oneLine(line))\n", to: STDERR_FILENO) }

    /// The text on one line: messages of libpq have several.
    static func oneLine(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).map { $0.drop(while: \.isWhitespace) }.joined(separator: "; ")
    }

    /// Text as it is; false when nobody reads any more.
    @discardableResult
    static func write(_ text: String, to descriptor: Int32) -> Bool {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                // Nobody reads any more: there is nobody to tell.
                guard errno == EINTR else { return false }
                continue
            }
            rest = rest.dropFirst(count)
        }
        return true
    }
}

extension Int {
    /// "1 tag", "2 tags".
    func counted(_ noun: String) -> String { "\(self) \(noun)\(self == 1 ? "" : "s")" }
}
