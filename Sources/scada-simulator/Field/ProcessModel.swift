#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// How one kind of measurement moves from one update to the next.
///
/// Every tag wanders about a set point (mean-reverting noise, `relaxation` seconds of memory); the set point itself
/// drifts slowly inside the kind's usual band, or fills up and is hauled off where the kind is a stock tank's content.
/// A well in an upset (a pump tripped, gas breaking through) moves all its tags together, each by its own response; the
/// upset decays over about ten minutes. What comes out is held inside the instrument's range and rounded to its
/// resolution. All constants are for one update of `interval` seconds and computed once.
struct ProcessModel: Sendable {
    let low: Double
    let high: Double
    /// The usual band of the set point.
    let bandLow: Double
    let bandHigh: Double
    /// How much of the distance to the set point is left after one update.
    let memory: Double
    /// Standard deviation of what one update adds.
    let noise: Double
    /// Largest step of the set point in one update.
    let drift: Double
    /// What a tank gains in one update; 0 for what is not a tank.
    let filling: Double
    /// Added to the value at a full upset.
    let upsetResponse: Double
    /// 1 / resolution.
    let steps: Double

    /// Seconds between the beginnings of two upsets of one well, on average.
    static let upsetEvery = 4.0 * 3_600
    /// Seconds until an upset is down to a third.
    static let upsetDecay = 600.0
    /// From here on an instrument says that it does not trust itself.
    static let distrustFrom: Float = 0.9

    /// - Parameter interval: seconds between two updates of a tag.
    init(_ kind: TagKind, interval: Double) {
        let shape = Shape(kind)
        low = kind.range.lowerBound
        high = kind.range.upperBound
        let span = high - low
        bandLow = low + span * shape.band.lowerBound
        bandHigh = low + span * shape.band.upperBound
        memory = exp(-interval / shape.relaxation)
        noise = span * shape.noise * (1 - memory * memory).squareRoot()
        drift = span * shape.driftPerHour * (3 * interval / 3_600).squareRoot()
        filling = span * shape.fillingPerHour * interval / 3_600
        upsetResponse = span * shape.upset
        steps = 1 / shape.resolution
    }

    /// One step: moves the state, returns the value shown.
    @inline(__always)
    func step(_ state: inout TagState, upset: Float, _ generator: inout SeededGenerator) -> Double {
        let draw = generator.noise()
        var setPoint = state.setPoint + drift * draw.uniform + filling
        if setPoint > bandHigh {
            // A full tank is hauled; a drifting set point turns round.
            setPoint = filling > 0 ? bandLow : 2 * bandHigh - setPoint
        } else if setPoint < bandLow {
            setPoint = 2 * bandLow - setPoint
        }
        state.setPoint = setPoint
        state.deviation = state.deviation * memory + noise * draw.normal
        let raw = setPoint + state.deviation + Double(upset) * upsetResponse
        return (min(max(raw, low), high) * steps).rounded() / steps
    }

    /// A value one unit of resolution beside, inside the range.
    func flicker(_ value: Double) -> Double {
        let step = value < (low + high) / 2 ? 1.0 : -1.0
        return ((value * steps).rounded() + step) / steps
    }

    /// A set point somewhere in the band.
    func start(_ generator: inout SeededGenerator) -> TagState {
        TagState(setPoint: generator.within(bandLow, bandHigh), deviation: 0)
    }

    /// What differs between the kinds, in fractions of the range where no unit is named.
    private struct Shape {
        var band: ClosedRange<Double>
        /// Seconds.
        var relaxation: Double
        var noise: Double
        var driftPerHour: Double
        var fillingPerHour = 0.0
        var upset: Double
        /// In the kind's unit.
        var resolution: Double

        init(_ kind: TagKind) {
            switch kind {
            case .casingPressure:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.08...0.45, 90, 0.004, 0.02, 0.35, 0.1)
            case .temperature:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.3...0.7, 600, 0.003, 0.02, 0.1, 0.01)
            case .flowRate:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.1...0.7, 30, 0.015, 0.03, -0.6, 0.01)
            case .liquidLevel:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.2...0.8, 300, 0.004, 0.03, 0.15, 0.01)
            case .gasVolume:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.02...0.9, 60, 0.0005, 0.001, 0.02, 0.1)
                fillingPerHour = 0.04
            case .oilVolume:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.05...0.85, 60, 0.0005, 0.001, 0, 0.01)
                fillingPerHour = 0.05
            case .waterCut:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.4...0.95, 120, 0.01, 0.01, 0.05, 0.01)
            case .motorCurrent:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.3...0.6, 15, 0.02, 0.01, -0.5, 0.01)
            case .vibration:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.08...0.3, 5, 0.02, 0.02, 0.5, 0.001)
            case .power:
                (band, relaxation, noise, driftPerHour, upset, resolution) = (0.3...0.6, 15, 0.015, 0.01, -0.45, 0.001)
            }
        }
    }
}

/// What a tag's model remembers.
struct TagState: Equatable, Sendable {
    var setPoint: Double
    var deviation: Double
}
