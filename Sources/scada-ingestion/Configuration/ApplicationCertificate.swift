import OPCUASecurity

/// What the daemon's own OPC UA certificate says when it is made here.
enum ApplicationCertificate {
    /// - Parameters:
    ///   - host: this machine's name: part of the ApplicationUri, which must be unique (Part 6, 6.2.2).
    ///   - now: seconds since 1970.
    static func template(host: String = HostName.current, now: Int64) -> CertificateTemplate {
        .applicationInstance(
            commonName: "scada-ingestion@\(host)",
            applicationUri: "urn:\(host):scada-ingestion",
            hostNames: [host],
            now: now
        )
    }
}
