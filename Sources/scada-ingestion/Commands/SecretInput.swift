import ArgumentParser
import Glibc

/// A secret typed or piped in. Printing it shows nothing of it.
struct SecretInput: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    let revealed: String

    var description: String { "••••" }
    var debugDescription: String { description }
    var customMirror: Mirror { Mirror(self, children: []) }

    /// All of standard input without its last newline, or what is typed at the prompt, which does not show.
    /// - Throws: `ExitCode.usage` after saying what is wrong: nothing came, or not text.
    static func read(prompt: String) throws -> SecretInput {
        let text: String
        if isatty(STDIN_FILENO) == 1 {
            // Turns echo off and on again. It also takes Control-C and Control-D as characters.
            guard let typed = getpass(prompt) else {
                Console.error("the terminal could not be read: \(String(cString: strerror(errno)))")
                throw ExitCode.usage
            }
            defer { wipe(typed) }
            text = String(cString: typed)
        } else {
            do throws(Unacceptable) {
                text = withoutLastNewline(try SmallTextFile.read(descriptor: STDIN_FILENO, limit: 64 << 10))
            } catch {
                Console.error("standard input: \(error.reason); expected the secret as UTF-8 text")
                throw ExitCode.usage
            }
        }
        guard !text.isEmpty, !text.unicodeScalars.contains(where: { $0 == "\u{3}" || $0 == "\u{4}" }) else {
            Console.error("no secret was given; expected one line on standard input or at the prompt")
            throw ExitCode.usage
        }
        return SecretInput(revealed: text)
    }

    static func withoutLastNewline(_ text: String) -> String {
        text.last?.isNewline == true ? String(text.dropLast()) : text
    }

    /// Wipes what the C library keeps of it.
    private static func wipe(_ text: UnsafeMutablePointer<CChar>) {
        explicit_bzero(text, strlen(text))
    }
}
