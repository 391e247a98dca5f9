/// The ten measurements every simulated well has.
enum TagKind: Int, CaseIterable, Sendable {
    case casingPressure, temperature, flowRate, liquidLevel, gasVolume, oilVolume, waterCut, motorCurrent, vibration
    case power

    /// The browse name.
    var name: String {
        switch self {
        case .casingPressure: "CasingPressure"
        case .temperature: "Temperature"
        case .flowRate: "FlowRate"
        case .liquidLevel: "LiquidLevel"
        case .gasVolume: "GasVolume"
        case .oilVolume: "OilVolume"
        case .waterCut: "WaterCut"
        case .motorCurrent: "MotorCurrent"
        case .vibration: "Vibration"
        case .power: "Power"
        }
    }

    /// Lowest and highest value the instrument shows: the EURange property (Part 8, 5.6.3).
    var range: ClosedRange<Double> {
        switch self {
        case .casingPressure: 0...5_000
        case .temperature: 40...200
        case .flowRate: 0...1_000
        case .liquidLevel, .waterCut, .motorCurrent: 0...100
        case .gasVolume: 0...50_000
        case .oilVolume: 0...10_000
        case .vibration: 0...10
        case .power: 0...50
        }
    }

    /// The unit as people write it.
    var unit: String {
        switch self {
        case .casingPressure: "PSI"
        case .temperature: "°F"
        case .flowRate: "BBL/day"
        case .liquidLevel, .waterCut: "%"
        case .gasVolume: "MCF"
        case .oilVolume: "BBL"
        case .motorCurrent: "A"
        case .vibration: "mm/s"
        case .power: "kW"
        }
    }

    /// The unit's UNECE Recommendation 20 common code; Part 8, 5.6.3 makes the unit id out of its letters.
    var uneceCode: String {
        switch self {
        case .casingPressure: "PS"
        case .temperature: "FAH"
        case .flowRate: "B1"
        case .liquidLevel, .waterCut: "P1"
        case .gasVolume: "FC"
        case .oilVolume: "BLL"
        case .motorCurrent: "AMP"
        case .vibration: "C16"
        case .power: "KWT"
        }
    }

    var uneceUnitID: Int32 { uneceCode.utf8.reduce(0) { $0 << 8 | Int32($1) } }

    /// What a pumper gauges by hand where a well has no instrument for it.
    var canBeHandEntered: Bool { self == .oilVolume || self == .liquidLevel || self == .waterCut }

    init?(name: some StringProtocol) {
        guard let kind = Self.byName[String(name)] else { return nil }
        self = kind
    }

    private static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.name, $0) })
}
