import OPCUASecurity
import TimescaleStore

extension MigrationRun {
    /// Encrypts under the current key what stands in plain text, under a previous key, or in the older form.
    ///
    /// Each password is replaced only when it still is what was read, so that a platform may write meanwhile; what it wrote
    /// is left to the next run.
    mutating func reencrypt(_ tenants: [TenantRecord], cipher: SecretCipher) async {
        let registry = TenantRegistry(pool: pool)
        for tenant in tenants {
            do throws(StoreError) {
                let plan = Reencryption(try await registry.passwords(of: tenant.url), cipher: cipher)
                for refusal in plan.refusals {
                    unreadable += 1
                    Console.error("\(tenant.label): \(refusal); left as it is")
                }
                var replaced = 0
                for replacement in plan.replacements where !dryRun {
                    let wasReplaced = try await registry.replacePassword(
                        of: replacement.password.connection,
                        old: replacement.password.text,
                        new: replacement.text,
                        in: tenant.url
                    )
                    replaced += wasReplaced ? 1 : 0
                }
                let changed = plan.replacements.count - replaced
                let meanwhile = dryRun || changed == 0 ? "" : "; \(changed) changed meanwhile, run it again"
                say(
                    "\(tenant.label): \(dryRun ? "would encrypt" : "encrypted") \(plan.summary), "
                        + "\(plan.current.counted("password")) already current\(meanwhile)"
                )
                done += 1
            } catch {
                let cure = error.sqlState == "42P01" ? "run scada-ingestion migrate first" : nil
                failed(tenant.label, error, "the tenant's database_url", cure: cure)
            }
        }
    }
}
