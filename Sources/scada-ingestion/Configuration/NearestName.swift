/// What somebody probably meant by a name that does not exist.
enum NearestName {
    /// The candidate fewest edits away; nil when even that is too far to be a slip.
    static func of(_ name: String, in candidates: [String]) -> String? {
        let name = name.uppercased()
        let bound = max(2, name.utf8.count / 4)
        let ranked = candidates.map { (name: $0, distance: distance(name, $0.uppercased())) }
        guard let best = ranked.min(by: { $0.distance < $1.distance }), best.distance <= bound else { return nil }
        return best.name
    }

    /// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other (optimal string
    /// alignment).
    static func distance(_ left: String, _ right: String) -> Int {
        let left = Array(left.utf8)
        let right = Array(right.utf8)
        var beforeLast: [Int] = []
        var last = Array(0...right.count)
        for row in 0..<left.count {
            var current = [row + 1]
            for column in 0..<right.count {
                let isSame = left[row] == right[column]
                var best = min(last[column] + (isSame ? 0 : 1), last[column + 1] + 1, current[column] + 1)
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    best = min(best, beforeLast[column - 1] + 1)
                }
                current.append(best)
            }
            beforeLast = last
            last = current
        }
        return last[right.count]
    }
}
