import OPCUACodec

/// One monitored item (Part 4, 5.12): decides which samples of its node are queued, and holds the queue.
struct MonitoredItem: Sendable {
    enum Target: Equatable, Sendable {
        /// The Value of a simulated tag.
        case tag(Int)
        /// Any other attribute: reported at first and, where it changes by itself, at every publishing cycle.
        case attribute(FieldNode, UInt32)
    }

    enum Outcome: Equatable, Sendable {
        case ignored
        case queued
        /// Queued, and another sample was lost for it; `overwritten` when that is what a queue of one is for.
        case overflowed(overwritten: Bool)
    }

    let id: UInt32
    let target: Target
    var mode: MonitoringMode {
        didSet { (isDisabled, isReporting) = (mode == .disabled, mode == .reporting) }
    }
    private(set) var isDisabled: Bool
    private(set) var isReporting: Bool
    /// Ticks between two samples; 0 takes every update.
    var samplingInterval: Int64
    var template: NotificationTemplate
    var filter: SampleFilter
    var queue: SampleQueue
    /// Stands in the subscription's list of items that have something to send.
    var isReady = false

    private var lastReported: Sample?
    private var nextSampling: Int64 = 0

    /// The encoded DataValue of an item that is no tag, waiting to be sent: its queue holds one.
    var encodedValue: [UInt8]?
    var lastEncoded: [UInt8]?

    init(
        id: UInt32,
        target: Target,
        mode: MonitoringMode,
        samplingInterval: Int64,
        template: NotificationTemplate,
        filter: SampleFilter,
        queue: SampleQueue
    ) {
        self.id = id
        self.target = target
        self.mode = mode
        (isDisabled, isReporting) = (mode == .disabled, mode == .reporting)
        self.samplingInterval = samplingInterval
        self.template = template
        self.filter = filter
        self.queue = queue
    }

    /// A tag has a new sample.
    /// - Parameter becameReady: set when the item has to be put into its subscription's list now.
    @inline(__always)
    mutating func offer(_ sample: Sample, _ becameReady: inout Bool) -> Outcome {
        if isDisabled { return .ignored }
        if samplingInterval > 0 {
            // A tenth of the interval is allowed to a source that is a little early.
            guard sample.source >= nextSampling - samplingInterval / 10 else { return .ignored }
            let planned = nextSampling + samplingInterval
            nextSampling = planned > sample.source ? planned : sample.source + samplingInterval
        }
        guard filter.passes(sample, after: lastReported) else { return .ignored }
        lastReported = sample
        if isReporting, !isReady {
            isReady = true
            becameReady = true
        }
        guard queue.append(sample) else { return .queued }
        return .overflowed(overwritten: queue.size == 1)
    }

    /// The next sample is reported whatever the filter says: after the mode changed (Part 4, 5.12.1.3) or a transfer.
    mutating func reportAnyway() {
        lastReported = nil
        lastEncoded = nil
        nextSampling = 0
    }

    /// Queues a value of an item that is no tag, if it differs from the last one.
    mutating func offer(encoded value: [UInt8]) -> Bool {
        guard !isDisabled, value != lastEncoded else { return false }
        lastEncoded = value
        encodedValue = value
        return true
    }

    var hasNotifications: Bool { !queue.isEmpty || encodedValue != nil }
}
