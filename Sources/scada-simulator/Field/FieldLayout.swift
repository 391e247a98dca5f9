/// Which wells and tags a server has, and what everything is called. Follows from the seed and the numbers alone.
///
/// A tag is addressed by its index: ten tags a well, in the order of ``TagKind``. Wells are numbered over all servers of
/// a run from 1, so that no two servers have a well of the same name.
struct FieldLayout: Equatable, Sendable {
    static let tagsPerWell = TagKind.allCases.count

    let seed: UInt64
    /// Zero-based over all servers.
    let wells: Range<Int>
    /// In counter mode every tag is automatic: a counter has no pumper.
    let counters: Bool

    var wellCount: Int { wells.count }
    var tagCount: Int { wells.count * Self.tagsPerWell }

    /// Splits the wells of a run over its servers, the first servers getting what does not divide evenly.
    static func split(wells: Int, servers: Int, seed: UInt64, counters: Bool) -> [FieldLayout] {
        (0..<servers).map { server in
            let start = wells * server / servers
            let end = wells * (server + 1) / servers
            return FieldLayout(seed: seed, wells: start..<end, counters: counters)
        }
    }

    func kind(ofTag tag: Int) -> TagKind { TagKind.allCases[tag % Self.tagsPerWell] }
    func well(ofTag tag: Int) -> Int { tag / Self.tagsPerWell }

    /// `Well-00001`; `well` counts from 0 within this server.
    func name(ofWell well: Int) -> String {
        let digits = String(wells.lowerBound + well + 1)
        return "Well-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }

    /// The string identifier of a tag's node: `Well-00001.CasingPressure`.
    func identifier(ofTag tag: Int) -> String {
        "\(name(ofWell: well(ofTag: tag))).\(kind(ofTag: tag).name)"
    }

    /// The well of a name as ``name(ofWell:)`` writes it; nil for any other text.
    func well(named text: some StringProtocol) -> Int? {
        guard text.hasPrefix("Well-"), let number = Int(text.dropFirst(5)), wells.contains(number - 1) else {
            return nil
        }
        let well = number - 1 - wells.lowerBound
        return name(ofWell: well) == text ? well : nil
    }

    /// One in five wells has a hand-entered gauge for each kind that can be gauged by hand.
    func isHandEntered(_ tag: Int) -> Bool {
        guard !counters, kind(ofTag: tag).canBeHandEntered else { return false }
        let number = wells.lowerBound * Self.tagsPerWell + tag
        return SeededGenerator.mix(seed &+ 0xA11C_E000 &+ UInt64(number)) % 5 == 0
    }

    /// Degrees, in the Permian Basin of Texas and New Mexico.
    func position(ofWell well: Int) -> (latitude: Double, longitude: Double) {
        var generator = SeededGenerator(seed: SeededGenerator.mix(seed &+ UInt64(wells.lowerBound + well)))
        let latitude = generator.within(30.8, 33.2)
        let longitude = generator.within(-104.2, -101.2)
        return ((latitude * 1e6).rounded() / 1e6, (longitude * 1e6).rounded() / 1e6)
    }
}
