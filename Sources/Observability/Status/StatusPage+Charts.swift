extension StatusPage {
    /// A line of a chart: seconds before now (0 at the right edge) and value, nil where there is none.
    struct Curve {
        var cssClass: StaticString
        var points: [(secondsAgo: Double, value: Double?)]
    }

    /// How far the charts look back: all there is, in steps that a reader can use.
    enum Window: Double, CaseIterable {
        case minute = 60
        case twoMinutes = 120
        case fiveMinutes = 300
        case tenMinutes = 600

        /// The smallest in which the samples have room.
        init(_ samples: [StatusHistory.Sample], at now: Int64) {
            let oldest = samples.first.map { Double(now - $0.at) / 1e6 } ?? 0
            self = Self.allCases.first { $0.rawValue >= oldest } ?? .tenMinutes
        }

        var seconds: Double { rawValue }

        /// What stands below its beginning and its middle.
        var words: (start: StaticString, middle: StaticString) {
            switch self {
            case .minute: ("1 min ago", "30 s")
            case .twoMinutes: ("2 min ago", "1 min")
            case .fiveMinutes: ("5 min ago", "2.5 min")
            case .tenMinutes: ("10 min ago", "5 min")
            }
        }
    }

    private static let width = 600.0
    private static let height = 96.0
    /// Seconds without a value that a line crosses: between two flushes there are no delays to show.
    private static let longestBridge = 15.0
    /// Samples that a point of the throughput is the mean of: else the flushes would show, not the load.
    private static let smoothing = 5

    static func curve(
        _ cssClass: StaticString,
        _ samples: [StatusHistory.Sample],
        at now: Int64,
        _ value: (StatusHistory.Sample) -> Double?
    ) -> Curve {
        Curve(
            cssClass: cssClass,
            points: samples.compactMap { sample in
                let (secondsAgo, value) = (Double(now - sample.at) / 1e6, value(sample))
                // The wall clock may have been set meanwhile.
                return secondsAgo >= -2 && secondsAgo <= Window.tenMinutes.seconds ? (max(0, secondsAgo), value) : nil
            }
        )
    }

    /// The running mean of a figure that every sample has.
    static func smoothCurve(
        _ cssClass: StaticString,
        _ samples: [StatusHistory.Sample],
        at now: Int64,
        _ value: (StatusHistory.Sample) -> Double
    ) -> Curve {
        var sum = 0.0
        let values = samples.map(value)
        let means = values.enumerated().map { index, value in
            sum += value
            if index >= smoothing { sum -= values[index - smoothing] }
            return max(0, sum) / Double(min(index + 1, smoothing))
        }
        var index = -1
        return curve(cssClass, samples, at: now) { _ in
            index += 1
            return means[index]
        }
    }

    /// A chart whose lines start at zero. The words stand outside of the drawing, which is stretched to the width there is.
    static func chart(
        _ html: inout HTMLWriter,
        label: String,
        window: Window,
        curves: [Curve],
        format: (Double) -> String
    ) {
        let highest = curves.flatMap(\.points).compactMap(\.value).max() ?? 0
        let top = niceCeiling(highest)
        html.raw("<div class=plot><div class=scale><span>")
        html.text(round(format(top)))
        html.raw("</span><span>")
        html.text(round(format(top / 2)))
        html.raw(
            "</span><span>0</span></div><svg viewBox=\"0 0 600 96\" preserveAspectRatio=none role=img aria-label=\""
        )
        html.text(label)
        html.raw("\"><path class=grid d=\"M0 .5H600M0 48H600M0 95.5H600\"/>")
        for curve in curves {
            html.raw("<path class=\"line ")
            html.raw(curve.cssClass)
            html.raw("\" d=\"")
            draw(curve, window, top: top, &html)
            html.raw("\"/>")
        }
        html.raw("</svg><div class=times><span>")
        html.raw(window.words.start)
        html.raw("</span><span>")
        html.raw(window.words.middle)
        html.raw("</span><span>now</span></div></div>")
    }

    /// A mark of the scale is a round number: `5 s`, not `5.00 s`.
    private static func round(_ text: String) -> String {
        text.replacing(".00 ", with: " ").replacing(".0 ", with: " ")
    }

    private static func draw(_ curve: Curve, _ window: Window, top: Double, _ html: inout HTMLWriter) {
        var last: Double?
        for (secondsAgo, value) in curve.points {
            guard let value, value.isFinite else { continue }
            let (x, y) = (width * (1 - secondsAgo / window.seconds), (height - 1) * (1 - value / top) + 0.5)
            let isJoined = last.map { $0 - secondsAgo <= longestBridge } ?? false
            html.raw(isJoined ? "L" : "M")
            html.coordinate(x)
            html.raw(" ")
            html.coordinate(y)
            // A point without neighbours is seen only as a stroke with round ends.
            if !isJoined { html.raw("h0") }
            last = secondsAgo
        }
    }

    /// The next of 1, 2, 4, 5 × 10ⁿ, whose half reads well too.
    static func niceCeiling(_ value: Double) -> Double {
        guard value.isFinite, value > 0 else { return 1 }
        var step = 1.0
        while step * 10 <= value { step *= 10 }
        while step > value { step /= 10 }
        for factor in [1.0, 2, 4, 5, 10] where value <= step * factor * (1 + 1e-9) { return step * factor }
        return step * 10
    }
}
