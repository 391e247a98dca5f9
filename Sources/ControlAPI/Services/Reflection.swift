import CProtobufC
import CScadaProto

/// One question of a reflection client.
struct ReflectionRequest: Equatable {
    enum Question: Equatable {
        case fileByName(String)
        case fileContainingSymbol(String)
        case fileContainingExtension(type: String, number: Int32)
        case extensionNumbers(type: String)
        case listServices(String)
        case none
    }

    var host: String
    var question: Question

    init(_ message: Grpc__Reflection__V1__ServerReflectionRequest) {
        host = text(message.host)
        question =
            switch message.message_request_case {
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
                .fileByName(text(message.file_by_filename))
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
                .fileContainingSymbol(text(message.file_containing_symbol))
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
                .fileContainingExtension(
                    type: text(message.file_containing_extension?.pointee.containing_type),
                    number: message.file_containing_extension?.pointee.extension_number ?? 0
                )
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
                .extensionNumbers(type: text(message.all_extension_numbers_of_type))
            case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
                .listServices(text(message.list_services))
            default:
                .none
            }
    }

    init(host: String, question: Question) {
        self.host = host
        self.question = question
    }

    func answer(from index: ReflectionIndex?) -> ReflectionAnswer {
        guard let index else { return .error(.internalError, "the server's descriptors cannot be read") }
        switch question {
        case .fileByName(let name):
            let files = index.filesNeeded(for: name)
            return files.isEmpty ? .error(.notFound, "no file \(Validate.quoted(name))") : .files(files.map(\.bytes))
        case .fileContainingSymbol(let symbol):
            guard let name = index.symbols[symbol] else {
                return .error(.notFound, "no symbol \(Validate.quoted(symbol))")
            }
            return .files(index.filesNeeded(for: name).map(\.bytes))
        case .fileContainingExtension(let type, let number):
            return .error(.notFound, "no extension \(number) of \(Validate.quoted(type))")
        case .extensionNumbers(let type):
            guard index.symbols[type] != nil else { return .error(.notFound, "no type \(Validate.quoted(type))") }
            return .noExtensions(of: type)
        case .listServices:
            return .services(index.services)
        case .none:
            return .error(.invalidArgument, "the request asks for nothing known")
        }
    }
}

/// Its answer.
enum ReflectionAnswer: Equatable {
    /// Serialized FileDescriptorProtos.
    case files([[UInt8]])
    case services([String])
    /// proto3 messages have none.
    case noExtensions(of: String)
    case error(StatusCode, String)

    func encoded(for request: ReflectionRequest) -> GRPCMessage {
        let arena = MessageArena()
        let message = arena.message(Grpc__Reflection__V1__ServerReflectionResponse.self) { message in
            message.valid_host = arena.string(request.host)
            message.original_request = request.message(arena)
            switch self {
            case .files(let files):
                message.message_response_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE
                message.file_descriptor_response = arena.message(Grpc__Reflection__V1__FileDescriptorResponse.self) {
                    $0.n_file_descriptor_proto = files.count
                    $0.file_descriptor_proto = arena.array(files.map { arena.bytes($0) })
                }
            case .services(let names):
                message.message_response_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE
                message.list_services_response = arena.message(Grpc__Reflection__V1__ListServiceResponse.self) {
                    $0.n_service = names.count
                    $0.service = arena.list(names.count) { index in
                        arena.message(Grpc__Reflection__V1__ServiceResponse.self) {
                            $0.name = arena.string(names[index])
                        }
                    }
                }
            case .noExtensions(let type):
                message.message_response_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE
                message.all_extension_numbers_response = arena.message(
                    Grpc__Reflection__V1__ExtensionNumberResponse.self
                ) { $0.base_type_name = arena.string(type) }
            case .error(let code, let text):
                message.message_response_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE
                message.error_response = arena.message(Grpc__Reflection__V1__ErrorResponse.self) {
                    $0.error_code = code.rawValue
                    $0.error_message = arena.string(text)
                }
            }
        }
        return arena.serialize(message)
    }
}

extension ReflectionRequest {
    /// The question as it came, which the answer repeats.
    fileprivate func message(
        _ arena: MessageArena
    ) -> UnsafeMutablePointer<Grpc__Reflection__V1__ServerReflectionRequest> {
        arena.message(Grpc__Reflection__V1__ServerReflectionRequest.self) { message in
            message.host = arena.string(host)
            switch question {
            case .fileByName(let name):
                message.message_request_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME
                message.file_by_filename = arena.string(name)
            case .fileContainingSymbol(let symbol):
                message.message_request_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL
                message.file_containing_symbol = arena.string(symbol)
            case .fileContainingExtension(let type, let number):
                message.message_request_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION
                message.file_containing_extension = arena.message(Grpc__Reflection__V1__ExtensionRequest.self) {
                    $0.containing_type = arena.string(type)
                    $0.extension_number = number
                }
            case .extensionNumbers(let type):
                message.message_request_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE
                message.all_extension_numbers_of_type = arena.string(type)
            case .listServices(let content):
                message.message_request_case =
                    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES
                message.list_services = arena.string(content)
            case .none:
                break
            }
        }
    }
}
