import FoundationEssentials
import TimescaleStore

/// Who should run which connection, from what all replicas see alike: every replica computes the same and acts on its own
/// part. A value without clock or database.
///
/// Running connections stay where they are (a move costs a new session) unless the loads, counted in tags, differ much.
struct LeaseBalance {
    var me: String
    /// Live replicas, this one among them.
    var live: [String]
    /// Connections that are held now: by whom, and how many tags.
    var held: [UUID: (owner: String, tags: Int)]

    private static func weight(_ tags: Int) -> Int { max(1, tags) }

    var loads: [String: Int] {
        var loads = Dictionary(uniqueKeysWithValues: Set(live).map { ($0, 0) })
        for (owner, tags) in held.values where loads[owner] != nil { loads[owner, default: 0] += Self.weight(tags) }
        return loads
    }

    /// Free connections that fall to this replica: the largest first to whoever has least.
    func share(of free: [(id: UUID, tags: Int)]) -> [UUID] {
        var loads = loads
        var mine: [UUID] = []
        for (id, tags) in free.sorted(by: Self.largestFirst) {
            guard let target = loads.min(by: { ($0.value, $0.key) < ($1.value, $1.key) })?.key else { break }
            loads[target, default: 0] += Self.weight(tags)
            if target == me { mine.append(id) }
        }
        return mine
    }

    /// Connections this replica should hand over, when it is the one with the largest load: each move leaves the receiver
    /// with no more than this one keeps, and small differences are left alone.
    func surplus(atMost limit: Int) -> [UUID] {
        var loads = loads
        guard loads.count > 1 else { return [] }
        var mine = held.filter { $0.value.owner == me }.map { (id: $0.key, tags: $0.value.tags) }
            .sorted(by: Self.largestFirst)
        let fair = loads.values.reduce(0, +) / loads.count
        var moved: [UUID] = []
        while moved.count < limit {
            guard let most = loads.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }), most.key == me,
                let least = loads.min(by: { ($0.value, $0.key) < ($1.value, $1.key) })
            else { break }
            let difference = most.value - least.value
            guard difference * 10 > fair,
                let index = mine.firstIndex(where: { Self.weight($0.tags) * 2 <= difference })
            else { break }
            let (id, tags) = mine.remove(at: index)
            loads[me, default: 0] -= Self.weight(tags)
            loads[least.key, default: 0] += Self.weight(tags)
            moved.append(id)
        }
        return moved
    }

    private static func largestFirst(_ left: (id: UUID, tags: Int), _ right: (id: UUID, tags: Int)) -> Bool {
        (right.tags, left.id.uuidString) < (left.tags, right.id.uuidString)
    }
}
