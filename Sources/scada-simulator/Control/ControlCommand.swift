import OPCUACodec

/// The commands of the control port: faults to be had when a test wants them.
///
/// One command a line, one line of answer: `ok`, `error: …`, or JSON. A command goes to every server of the process, or
/// with `server N` before it to the Nth, counted from 1.
enum ControlCommand: Equatable, Sendable {
    /// Closes all TCP connections without a word.
    case drop
    /// Takes connections and bytes as the kernel does, but reads, computes and answers nothing, like a stopped process.
    case freeze
    case thaw
    /// Forgets sessions and subscriptions, closes all connections and takes none for so many milliseconds. Tags and
    /// history go on.
    case restart(downMilliseconds: Int)
    /// Forgets all subscriptions and leaves the sessions.
    case loseSubscriptions
    case limit(Limit, Int)
    /// Puts all limits back to where they were at the start.
    case resetLimits
    /// Whether ServerCapabilities tell the limits; 0, no limit, when they do not.
    case announceLimits(Bool)
    /// Gives the wells' namespace another index.
    case moveNamespaces
    /// Takes a tag out of the address space, by its node id or its name such as `Well-00001.Power`.
    case removeNode(String)
    case restoreNode(String)
    /// Answers deadband filters with BadFilterNotAllowed.
    case refuseDeadband(Bool)
    /// Flips one to four bytes in each of the next so many messages that are sent.
    case corrupt(Int)
    /// Flips one to four bytes in one of so many messages on average, at random ones; 0 ends it.
    case corruptOneIn(Int)
    /// Closes the connection, instead of an answer, at each of the next so many requests that ask for types.
    case dropOnTypes(Int)
    /// What the node ServiceLevel says: how well the server feels (Part 4, 6.6.2.4.2).
    case serviceLevel(UInt8)
    /// The accounting as JSON; with every tag's counts when wanted.
    case stats(tags: Bool)
    /// Ends the process as SIGTERM does.
    case quit

    enum Limit: String, CaseIterable, Sendable {
        case items, publish, chunk, message, sessions
        case monitoredItemsPerSubscription = "monitored-items-per-subscription"
        case nodes, queue, notifications
    }

    struct Addressed: Equatable, Sendable {
        var command: ControlCommand
        /// Counted from 1; nil is all.
        var server: Int?
    }

    static func parse(_ line: String) throws(ControlError) -> Addressed {
        var words = line.split(whereSeparator: \.isWhitespace).map(String.init)
        var server: Int?
        if words.first == "server" {
            guard words.count > 2, let number = Int(words[1]), number >= 1 else {
                throw ControlError("\"server\" takes a number from 1 and a command")
            }
            server = number
            words.removeFirst(2)
        }
        guard let name = words.first else { throw ControlError("a command is expected; see --help") }
        return Addressed(command: try command(name, Array(words.dropFirst())), server: server)
    }

    private static func command(_ name: String, _ arguments: [String]) throws(ControlError) -> ControlCommand {
        if let plain = plain[name] {
            guard arguments.isEmpty else { throw ControlError("\"\(name)\" takes nothing more") }
            return plain
        }
        switch name {
        case "restart":
            if arguments.isEmpty { return .restart(downMilliseconds: 0) }
            return .restart(downMilliseconds: try number(name, arguments, 0...3_600_000))
        case "limit":
            guard arguments.count == 2, let limit = Limit(rawValue: arguments[0]) else {
                let names = Limit.allCases.map(\.rawValue).joined(separator: ", ")
                throw ControlError("\"limit\" takes one of \(names), and a number")
            }
            let range = limit == .chunk ? 8_192...1_048_576 : 1...1_000_000_000
            return .limit(limit, try number(name, [arguments[1]], range))
        case "announce-limits": return .announceLimits(try isOn(name, arguments))
        case "refuse-deadband": return .refuseDeadband(try isOn(name, arguments))
        case "remove-node", "restore-node":
            guard arguments.count == 1 else { throw ControlError("\"\(name)\" takes a node id") }
            return name == "remove-node" ? .removeNode(arguments[0]) : .restoreNode(arguments[0])
        case "corrupt": return .corrupt(try number(name, arguments, 0...1_000_000))
        case "corrupt-one-in": return .corruptOneIn(try number(name, arguments, 0...1_000_000_000))
        case "drop-on-types": return .dropOnTypes(try number(name, arguments, 0...1_000_000))
        case "service-level": return .serviceLevel(UInt8(try number(name, arguments, 0...255)))
        case "stats":
            guard arguments.isEmpty || arguments == ["tags"] else {
                throw ControlError("\"stats\" takes nothing or \"tags\"")
            }
            return .stats(tags: !arguments.isEmpty)
        default: throw ControlError("there is no command \"\(name.prefix(100))\"; see --help")
        }
    }

    private static let plain: [String: ControlCommand] = [
        "drop": .drop, "freeze": .freeze, "thaw": .thaw, "lose-subscriptions": .loseSubscriptions,
        "reset-limits": .resetLimits, "move-namespaces": .moveNamespaces, "quit": .quit,
    ]

    private static func number(_ name: String, _ arguments: [String], _ range: ClosedRange<Int>) throws(ControlError)
        -> Int
    {
        guard arguments.count == 1, let number = Int(arguments[0]), range.contains(number) else {
            throw ControlError("\"\(name)\" takes a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    private static func isOn(_ name: String, _ arguments: [String]) throws(ControlError) -> Bool {
        guard arguments == ["on"] || arguments == ["off"] else { throw ControlError("\"\(name)\" takes on or off") }
        return arguments == ["on"]
    }

    /// For --help, which breaks lines after 80 columns.
    static let help = """
        Control port (--control-port, loopback only): one command a line, answered by \
        one line: "ok", "error: reason" or JSON. A command goes to every server, or \
        with "server N" before it to the Nth, counted from 1.
          drop                  close all TCP connections
          freeze | thaw         read and answer nothing, stay connected | go on
          restart [MS]          forget sessions and subscriptions, be down MS ms
          lose-subscriptions    forget subscriptions, keep sessions
          limit items|nodes N   operations of one call
          limit publish N       requests waiting in one session
          limit chunk|message N      bytes; for new connections
          limit monitored-items-per-subscription|sessions N
          limit queue|notifications N   values of one item | of one message
          reset-limits          as they were at the start
          announce-limits on|off     whether ServerCapabilities tell them
          move-namespaces       give the wells' namespace another index
          remove-node NODE      a tag, as a node id or as Well-00001.Power
          restore-node NODE
          refuse-deadband on|off     answer deadbands with BadFilterNotAllowed
          corrupt N             flip bytes in the next N messages sent
          corrupt-one-in N      … in one of N at random, until N is 0
          drop-on-types N       cut the next N requests for data types or subtypes
          service-level N       of 0 to 255, at the start 255
          stats [tags]          the figures as JSON; those of each tag too
          quit                  end as SIGTERM does
        """
}

/// Why a command was not carried out, in words for the one who sent it.
struct ControlError: Error, Equatable, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}
