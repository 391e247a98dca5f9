import FoundationEssentials
import TimescaleStore

/// The plans of a tenant's connections, whoever runs them, and what is wrong with the others.
///
/// The configuration is read again and again and is nearly always what it was: only rows that differ from those at the last
/// reading are planned anew, the others' plans stay the same ones, which share what they keep.
struct ConnectionPlans {
    typealias Planned = (record: ConnectionRecord, plan: ConnectionPlan)

    private(set) var usable: [UUID: Planned] = [:]
    private(set) var problems: [RowProblem] = []
    /// Of the configuration that these are for; nil: not known.
    private(set) var fingerprint: String?

    init() {}

    /// - Parameters:
    ///   - last: of the reading before, with the same defaults and passwords opened the same way.
    init(
        _ configuration: TenantConfiguration,
        last: Self,
        defaults: ConnectionDefaults,
        openPassword: ConnectionPlan.PasswordOpener
    ) {
        problems = configuration.problems
        fingerprint = configuration.fingerprint
        for record in configuration.connections {
            if let known = last.usable[record.id], known.record == record {
                problems += known.plan.problems
                usable[record.id] = known
                continue
            }
            do throws(RowProblem) {
                let plan = try ConnectionPlan(record, defaults: defaults, openPassword: openPassword)
                problems += plan.problems
                usable[record.id] = (record, plan)
            } catch {
                problems.append(error)
            }
        }
    }
}
