/// Text that must not appear in a log, an error or a debugger's summary: printing it prints dots.
package struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The text itself. Use it where it is encrypted or sent, nowhere else.
    package let revealed: String

    package init(_ text: String) { revealed = text }

    package var description: String { "••••" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
