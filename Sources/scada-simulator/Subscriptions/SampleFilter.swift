import OPCUACodec

/// A DataChangeFilter (Part 4, 7.22.2) made ready for Double values: is a sample a change worth reporting?
struct SampleFilter: Equatable, Sendable {
    enum Trigger: Sendable { case status, statusValue, statusValueTimestamp }

    var trigger = Trigger.statusValue
    /// In the value's unit; 0 reports every change. A percentage has been multiplied with the EURange.
    var deadband = 0.0

    static let none = SampleFilter()

    /// - Parameter last: the sample reported last; nil reports whatever comes.
    @inline(__always)
    func passes(_ sample: Sample, after last: Sample?) -> Bool {
        guard let last else { return true }
        if sample.status != last.status { return true }
        switch trigger {
        case .status: return false
        case .statusValue: break
        case .statusValueTimestamp: if sample.source != last.source { return true }
        }
        // A deadband excludes the border: the change has to be larger (Part 4, 7.22.2).
        return deadband > 0 ? abs(sample.value - last.value) > deadband : sample.value != last.value
    }

    /// Reads the filter of a request for a tag.
    ///
    /// - Throws: the status code for the item's result.
    init(_ filter: ExtensionObject, kind: TagKind?, limits: ServerLimits) throws(ServiceFailure) {
        if filter.typeId.isNull { return }
        let decoded: DataChangeFilter?
        do throws(DecodingError) { decoded = try filter.decoded(as: DataChangeFilter.self) } catch {
            throw ServiceFailure(.badMonitoredItemFilterInvalid)
        }
        // Event and aggregate filters belong to other attributes or to servers that calculate.
        guard let decoded else { throw ServiceFailure(.badMonitoredItemFilterUnsupported) }
        switch decoded.trigger {
        case .status: trigger = .status
        case .statusValue: trigger = .statusValue
        case .statusValueTimestamp: trigger = .statusValueTimestamp
        default: throw ServiceFailure(.badMonitoredItemFilterInvalid)
        }
        switch decoded.deadbandType {
        case 0: return
        case 1:
            guard !limits.refusesDeadband, kind != nil else { throw ServiceFailure(.badFilterNotAllowed) }
            guard decoded.deadbandValue >= 0, decoded.deadbandValue.isFinite else {
                throw ServiceFailure(.badDeadbandFilterInvalid)
            }
            deadband = decoded.deadbandValue
        case 2:
            guard !limits.refusesDeadband, let kind else { throw ServiceFailure(.badFilterNotAllowed) }
            guard (0...100).contains(decoded.deadbandValue) else { throw ServiceFailure(.badDeadbandFilterInvalid) }
            deadband = decoded.deadbandValue / 100 * (kind.range.upperBound - kind.range.lowerBound)
        default: throw ServiceFailure(.badDeadbandFilterInvalid)
        }
    }

    private init() {}
}
