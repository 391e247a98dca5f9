// swift-tools-version: 6.2
import PackageDescription

/// Language settings of every Swift target. Swift 6 mode is the tools version's default; these are the upcoming
/// features we build with on top of it. Warnings are errors in our own targets and leave the dependencies alone.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

let package = Package(
    name: "scada-ingestion",
    products: [
        .executable(name: "scada-ingestion", targets: ["scada-ingestion"]),
        .executable(name: "scada-simulator", targets: ["scada-simulator"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    ],
    targets: [
        // C libraries. Each is imported by one Swift module only; its pointers never leave that module.
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CProtobufC", pkgConfig: "libprotobuf-c", providers: [.apt(["libprotobuf-c-dev"])]),
        // SwiftPM repeats every flag of grpc.pc until the linker's command line is too long: name the libraries.
        .target(name: "CGRPC", linkerSettings: [.linkedLibrary("grpc"), .linkedLibrary("gpr")]),
        .target(name: "CScadaProto", dependencies: ["CProtobufC"]),
        .target(name: "CChecksum"),
        .target(name: "CAllocator"),
        .target(name: "CProcessor"),

        // Swift modules, each importing only what stands above it.
        .target(name: "Metrics", swiftSettings: settings),
        .target(name: "OPCUACodec", swiftSettings: settings),
        .target(name: "OPCUASecurity", dependencies: ["COpenSSL", "OPCUACodec"], swiftSettings: settings),
        .target(
            name: "OPCUAClient",
            dependencies: ["OPCUACodec", "OPCUASecurity", nioCore, nioPosix, logging],
            swiftSettings: settings
        ),
        .target(name: "Journal", dependencies: ["CChecksum", system, deque], swiftSettings: settings),
        .target(
            name: "TimescaleStore",
            dependencies: ["CLibPQ", logging, deque],
            swiftSettings: settings
        ),
        .target(
            name: "Ingestion",
            dependencies: [
                "CProcessor", "Metrics", "OPCUACodec", "OPCUASecurity", "OPCUAClient", "Journal", "TimescaleStore",
                nioCore, nioPosix, logging, lifecycle,
            ],
            swiftSettings: settings
        ),
        .target(
            name: "ControlAPI",
            dependencies: ["CGRPC", "CScadaProto", "CProtobufC", logging, lifecycle],
            swiftSettings: settings
        ),
        .target(
            name: "Observability",
            dependencies: ["Metrics", nioCore, nioPosix, nioHTTP1, logging, lifecycle],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "scada-ingestion",
            dependencies: [
                "Metrics", "OPCUACodec", "OPCUASecurity", "OPCUAClient", "Journal", "TimescaleStore", "Ingestion",
                "ControlAPI", "Observability", "CAllocator", argumentParser, configuration, lifecycle, signals, logging,
                nioCore,
                nioPosix,
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "scada-simulator",
            dependencies: ["OPCUACodec", "OPCUASecurity", nioCore, nioPosix, argumentParser, signals],
            swiftSettings: settings
        ),
        // scripts/microbench counts the instructions of what it runs; it is not installed.
        .executableTarget(
            name: "scada-microbench",
            dependencies: [
                "OPCUACodec", "OPCUASecurity", "OPCUAClient", "Journal", "TimescaleStore", "Ingestion", argumentParser,
            ],
            swiftSettings: settings
        ),

        .testTarget(name: "MetricsTests", dependencies: ["Metrics"], swiftSettings: settings),
        .testTarget(name: "OPCUACodecTests", dependencies: ["OPCUACodec"], swiftSettings: settings),
        .testTarget(name: "OPCUASecurityTests", dependencies: ["OPCUASecurity"], swiftSettings: settings),
        .testTarget(
            name: "OPCUAClientTests",
            dependencies: ["OPCUACodec", "OPCUASecurity", "OPCUAClient", nioCore, nioEmbedded, nioPosix, logging],
            swiftSettings: settings
        ),
        .testTarget(
            name: "JournalTests",
            dependencies: ["CChecksum", "Journal", system],
            swiftSettings: settings
        ),
        .testTarget(name: "TimescaleStoreTests", dependencies: ["TimescaleStore"], swiftSettings: settings),
        .testTarget(name: "IngestionTests", dependencies: ["Ingestion"], swiftSettings: settings),
        .testTarget(
            name: "ControlAPITests",
            // The C libraries for a client of the tests' own and for messages made without our code.
            dependencies: ["ControlAPI", "CGRPC", "CScadaProto", "CProtobufC", logging, lifecycle],
            swiftSettings: settings
        ),
        .testTarget(name: "ObservabilityTests", dependencies: ["Observability"], swiftSettings: settings),
        .testTarget(
            name: "ScadaSimulatorTests",
            dependencies: ["scada-simulator", "OPCUACodec", "OPCUAClient", nioCore, nioPosix, logging],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ScadaIngestionTests",
            dependencies: [
                "scada-ingestion", "ControlAPI", "Ingestion", "Journal", "OPCUAClient", "OPCUACodec", "OPCUASecurity",
                "TimescaleStore", argumentParser, logging,
            ],
            swiftSettings: settings
        ),
    ]
)
