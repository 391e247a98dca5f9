/// SplitMix64: a small generator whose whole sequence follows from its seed, so that a run can be repeated.
struct SeededGenerator: RandomNumberGenerator, Equatable, Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    @inline(__always)
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }

    /// Scatters a number over all 64 bits; used where a value must follow from a seed and an index alone.
    @inline(__always)
    static func mix(_ number: UInt64) -> UInt64 {
        var z = number
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    @inline(__always)
    mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

    mutating func within(_ low: Double, _ high: Double) -> Double { low + (high - low) * unit() }

    /// About normal with variance 1, and beside it a uniform number from -1 to 1, both out of one draw.
    ///
    /// The sum of three 16-bit numbers is close enough to the bell curve for noise on a gauge, at a tenth of the cost.
    @inline(__always)
    mutating func noise() -> (normal: Double, uniform: Double) {
        let bits = next()
        let sum = Int64(bits & 0xFFFF) + Int64(bits >> 16 & 0xFFFF) + Int64(bits >> 32 & 0xFFFF)
        // Three uniform numbers of width 65,536: mean 98,302.5, standard deviation 65,536 / 2.
        let normal = (Double(sum) - 98_302.5) * (1 / 32_768)
        let uniform = Double(Int64(bits >> 48) - 32_768) * (1 / 32_768)
        return (normal, uniform)
    }
}
