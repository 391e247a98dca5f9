extension CheckRun {
    /// The folder of certificates.
    mutating func checkPKI() {
        let path = configuration.opc.pkiDirectory
        let subject = "certificates \(path)"
        guard let folder = checkFolder(path, subject, variable: "OPC_PKI_DIR"), folder == path else { return }
        add(.ok(subject, "the folder can be used"))
    }
}
