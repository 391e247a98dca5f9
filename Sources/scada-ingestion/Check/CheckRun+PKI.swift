import Glibc
import OPCUASecurity

extension CheckRun {
    /// The folder of certificates: the own one, and those of others.
    mutating func checkPKI() {
        let path = configuration.opc.pkiDirectory
        let subject = "certificates \(path)"
        guard let folder = checkFolder(path, subject, variable: "OPC_PKI_DIR"), folder == path else { return }
        // Opening the store would make its folders, perhaps as another user than the daemon's.
        guard access("\(path)/own/certs", F_OK) == 0 else {
            return add(.ok(subject, "the folder can be used; the own certificate is made at the first start"))
        }
        do throws(SecurityError) {
            for finding in try Self.findings(TrustStore(folder: path), subject, now: Validity.now) { add(finding) }
        } catch {
            add(.fail(subject, error.message, cure: "correct the files in it", .configuration))
        }
    }

    /// - Parameter now: seconds since 1970.
    static func findings(_ store: TrustStore, _ subject: String, now: Int64) throws(SecurityError) -> [Finding] {
        var findings: [Finding] = []
        if let own = try store.loadIdentity()?.certificate {
            findings.append(
                Validity.finding(
                    subject,
                    "the own certificate \(own)",
                    notBefore: own.notBefore,
                    notAfter: own.notAfter,
                    now: now,
                    cure: "run scada-ingestion certificate renew, then let the servers trust the new one"
                )
            )
            if try store.privateKeyIsExposed() {
                findings.append(
                    .warn(subject, "others may read the private key", cure: "chmod 600 \(store.folder)/own/private/*")
                )
            }
        } else {
            findings.append(.ok(subject, "there is no own certificate yet: it is made at the first start"))
        }
        for problem in try store.unreadableFiles() {
            findings.append(.warn(subject, problem, cure: "replace or remove the file"))
        }
        let stored = try store.list()
        for each in stored where each.location == .trusted || each.location == .issuers {
            let finding = Validity.finding(
                subject,
                "\(each.certificate) in \(each.path)",
                notBefore: each.certificate.notBefore,
                notAfter: each.certificate.notAfter,
                now: now,
                cure: "get the new one of that server and trust it"
            )
            // Others' certificates are worth a word only when something is wrong; the servers behind them are theirs.
            if finding.level != .ok { findings.append(.warn(subject, finding.message, cure: finding.cure)) }
        }
        let rejected = stored.count { $0.location == .rejected }
        if rejected > 0 {
            findings.append(
                .warn(
                    subject,
                    "refused and waiting for a decision: \(rejected.counted("certificate"))",
                    cure: "see them with scada-ingestion trust"
                )
            )
        }
        return findings
    }
}
