import Synchronization

/// A bound on bytes that many tenants share without one of them starving the others (guarantee 7).
///
/// Half of the limit is guaranteed, in equal shares, to the tenants there are; the other half goes to whoever asks first.
/// A tenant that is down may thus fill its share and the common half, and every other tenant still has its own share.
/// The sum never exceeds the limit (but for ``force(_:for:)``).
final class SharedBudget: Sendable {
    /// One tenant's use of the budget.
    final class Account: Sendable {
        fileprivate let used = Mutex(0)
    }

    private struct State {
        var total = 0
        /// Bytes that accounts use beyond their guaranteed share.
        var excess = 0
        var members: [ObjectIdentifier: Account] = [:]
    }

    /// Bytes, nil when there is no bound.
    let limit: Int?
    private let state = Mutex(State())

    init(limit: Int?) {
        self.limit = limit.map { max($0, 0) }
    }

    /// Bytes in use by all.
    var total: Int { state.withLock { $0.total } }

    func open() -> Account {
        let account = Account()
        state.withLock { state in
            state.members[ObjectIdentifier(account)] = account
            settle(&state)
        }
        return account
    }

    /// Ends an account; what it still used is free.
    func close(_ account: Account) {
        state.withLock { state in
            guard state.members.removeValue(forKey: ObjectIdentifier(account)) != nil else { return }
            state.total -= account.used.withLock { used in
                defer { used = 0 }
                return used
            }
            settle(&state)
        }
    }

    /// Takes `bytes` if they may be had.
    /// - Parameter whenEmpty: an account that uses nothing gets them in any case: one record larger than the whole bound
    ///   must be able to pass.
    func reserve(_ bytes: Int, for account: Account, whenEmpty: Bool = false) -> Bool {
        state.withLock { state in
            account.used.withLock { used in
                guard let limit else {
                    used += bytes
                    state.total += bytes
                    return true
                }
                let share = share(state)
                let more = max(0, used + bytes - share) - max(0, used - share)
                let common = limit - share * state.members.count
                // What stays within the share is never refused, even when forced bytes exceed the common half.
                guard more == 0 || state.excess + more <= common || (whenEmpty && used == 0) else { return false }
                used += bytes
                state.total += bytes
                state.excess += more
                return true
            }
        }
    }

    /// Books `bytes` (negative: gives them back) whatever the limit says: for bytes that exist already.
    func force(_ bytes: Int, for account: Account) {
        state.withLock { state in
            account.used.withLock { used in
                let share = share(state)
                state.excess += max(0, used + bytes - share) - max(0, used - share)
                used += bytes
                state.total += bytes
            }
        }
    }

    func release(_ bytes: Int, for account: Account) {
        force(-bytes, for: account)
    }

    private func share(_ state: borrowing State) -> Int {
        guard let limit else { return Int.max }
        return limit / 2 / max(state.members.count, 1)
    }

    /// The share depends on the number of accounts: counts the excess anew when that changed.
    private func settle(_ state: inout State) {
        let share = share(state)
        state.excess = state.members.values.reduce(0) { sum, account in
            sum + account.used.withLock { max(0, $0 - share) }
        }
    }
}
