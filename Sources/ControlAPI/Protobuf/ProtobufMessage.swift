import CGRPC
import CProtobufC
import CScadaProto

/// A protoc-c message struct. Such a struct and everything it points to never leaves the scope it is made in:
/// `withUnpacked` for requests, `MessageArena` for answers.
protocol ProtobufMessage {
    init()
    var base: ProtobufCMessage { get set }
    /// protoc-c's `…__init`.
    static func initialize(_ message: UnsafeMutablePointer<Self>)
}

extension ProtobufMessage {
    /// The generated description of the message; lives for ever.
    static var descriptor: UnsafePointer<ProtobufCMessageDescriptor> {
        var message = Self()
        withUnsafeMutablePointer(to: &message) { initialize($0) }
        return message.base.descriptor
    }

    /// Decodes `bytes`, hands the message to `body` and frees it. Throws `INVALID_ARGUMENT` for bytes that are not such a
    /// message, naming the field where it can be told.
    static func withUnpacked<Result>(
        _ bytes: UnsafeRawBufferPointer,
        _ body: (Self) throws(ControlError) -> Result
    ) throws(ControlError) -> Result {
        let descriptor = Self.descriptor
        try WireInspector.inspect(bytes, descriptor)
        let data = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        guard let message = protobuf_c_message_unpack(descriptor, nil, bytes.count, data) else {
            throw ControlError(
                .invalidArgument,
                "the request's bytes are not a \(String(cString: descriptor.pointee.name)) message"
            )
        }
        defer { protobuf_c_message_free_unpacked(message, nil) }
        let value = UnsafeMutableRawPointer(message).assumingMemoryBound(to: Self.self).pointee
        return try body(value)
    }
}

/// The string a protoc-c field points to. Checked by `WireInspector`: UTF-8 without NUL.
func text(_ pointer: UnsafeMutablePointer<CChar>?) -> String {
    pointer.map { String(cString: $0) } ?? ""
}

/// The elements of a repeated message field.
func elements<Message>(
    _ count: Int,
    _ list: UnsafeMutablePointer<UnsafeMutablePointer<Message>?>?
) -> [UnsafeMutablePointer<Message>] {
    guard let list else { return [] }
    return UnsafeBufferPointer(start: list, count: count).compactMap { $0 }
}

// The messages the server decodes or encodes, and nothing else of the generated code.

extension Scada__QueryReadingsRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__query_readings_request__init(message) }
}
extension Scada__QueryReadingsResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__query_readings_response__init(message) }
}
extension Scada__Reading: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__reading__init(message) }
}
extension Scada__GetAggregatorStatsRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__get_aggregator_stats_request__init(message) }
}
extension Scada__GetAggregatorStatsResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        scada__get_aggregator_stats_response__init(message)
    }
}
extension Scada__AddConnectionRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__add_connection_request__init(message) }
}
extension Scada__TagMapping: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__tag_mapping__init(message) }
}
extension Scada__AddConnectionResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__add_connection_response__init(message) }
}
extension Scada__RemoveConnectionRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__remove_connection_request__init(message) }
}
extension Scada__RemoveConnectionResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__remove_connection_response__init(message) }
}
extension Scada__HealthCheckRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__health_check_request__init(message) }
}
extension Scada__HealthCheckResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__health_check_response__init(message) }
}
extension Scada__TenantHealth: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__tenant_health__init(message) }
}
extension Scada__ListConnectionsRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__list_connections_request__init(message) }
}
extension Scada__ListConnectionsResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__list_connections_response__init(message) }
}
extension Scada__ConnectionStatus: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__connection_status__init(message) }
}
extension Scada__TestConnectionRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__test_connection_request__init(message) }
}
extension Scada__TestConnectionResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__test_connection_response__init(message) }
}
extension Scada__EndpointInfo: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__endpoint_info__init(message) }
}
extension Scada__ServerLimits: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__server_limits__init(message) }
}
extension Scada__BrowseNodesRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__browse_nodes_request__init(message) }
}
extension Scada__BrowseNodesResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__browse_nodes_response__init(message) }
}
extension Scada__BrowsedNode: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__browsed_node__init(message) }
}
extension Scada__ListGapsRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__list_gaps_request__init(message) }
}
extension Scada__ListGapsResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__list_gaps_response__init(message) }
}
extension Scada__Gap: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) { scada__gap__init(message) }
}
extension Grpc__Health__V1__HealthCheckRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__health__v1__health_check_request__init(message)
    }
}
extension Grpc__Health__V1__HealthCheckResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__health__v1__health_check_response__init(message)
    }
}
extension Grpc__Reflection__V1__ServerReflectionRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__server_reflection_request__init(message)
    }
}
extension Grpc__Reflection__V1__ServerReflectionResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__server_reflection_response__init(message)
    }
}
extension Grpc__Reflection__V1__ExtensionRequest: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__extension_request__init(message)
    }
}
extension Grpc__Reflection__V1__FileDescriptorResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__file_descriptor_response__init(message)
    }
}
extension Grpc__Reflection__V1__ListServiceResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__list_service_response__init(message)
    }
}
extension Grpc__Reflection__V1__ServiceResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__service_response__init(message)
    }
}
extension Grpc__Reflection__V1__ErrorResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__error_response__init(message)
    }
}
extension Grpc__Reflection__V1__ExtensionNumberResponse: ProtobufMessage {
    static func initialize(_ message: UnsafeMutablePointer<Self>) {
        grpc__reflection__v1__extension_number_response__init(message)
    }
}
