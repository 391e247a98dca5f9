import OPCUACodec

/// What a server that dials in says first (Part 6, 7.1.2.6).
package struct ReverseHello: Equatable, Sendable {
    /// The server's ApplicationUri.
    package var serverURI: String
    /// The endpoint it wants to be used by: goes into Hello.
    package var endpointURL: String

    /// Neither string may be longer (Part 6, 7.1.2.6).
    static let maximumStringLength = 4096
    /// Header, two lengths, two strings.
    static let maximumSize = 8 + 2 * (4 + maximumStringLength)

    package init(serverURI: String, endpointURL: String) {
        self.serverURI = serverURI
        self.endpointURL = endpointURL
    }

    /// The size of the message whose first eight bytes these are.
    /// - Throws: the status to refuse the socket with.
    static func size(type: UInt32, announced: UInt32) throws(ReverseRefusal) -> Int {
        // "RHEF", little endian.
        guard type == 0x4645_4852 else { throw ReverseRefusal(.badTcpMessageTypeInvalid, "it did not begin with RHE") }
        guard (16...UInt32(maximumSize)).contains(announced) else {
            throw ReverseRefusal(.badTcpMessageTooLarge, "its ReverseHello announces \(announced) bytes")
        }
        return Int(announced)
    }

    /// Decodes a whole message with its header.
    init(message: [UInt8]) throws(ReverseRefusal) {
        do throws(DecodingError) {
            self = try BinaryDecoder.withBytes(message) { decoder throws(DecodingError) in
                decoder.offset = 8
                let uri = try decoder.string() ?? ""
                let url = try decoder.string() ?? ""
                guard decoder.bytesLeft == 0 else { throw decoder.failure(.invalidEncoding) }
                return ReverseHello(serverURI: uri, endpointURL: url)
            }
        } catch {
            throw ReverseRefusal(.badDecodingError, "its ReverseHello cannot be decoded")
        }
        guard serverURI.utf8.count <= Self.maximumStringLength, endpointURL.utf8.count <= Self.maximumStringLength
        else { throw ReverseRefusal(.badTcpMessageTooLarge, "its ReverseHello holds a string of over 4096 bytes") }
    }
}

/// Why a socket of a server that dialled in is closed.
struct ReverseRefusal: Error, Equatable {
    var status: StatusCode
    var reason: String

    init(_ status: StatusCode, _ reason: String) {
        self.status = status
        self.reason = reason
    }
}

/// The endpoint a server that dials in is matched by: host in any case, port, and path.
package struct ReverseEndpoint: Hashable, Sendable {
    let host: String
    let port: Int
    let path: String

    package init(_ url: EndpointURL) {
        host = url.host.lowercased()
        port = url.port
        let rest = url.serverURL.dropFirst("opc.tcp://".count)
        let path = rest.drop { $0 != "/" && $0 != "?" }
        self.path = path == "/" ? "" : String(path)
    }
}
