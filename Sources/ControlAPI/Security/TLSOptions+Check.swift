extension TLSOptions {
    /// Reads the files as the server would at its start. Blocks.
    /// - Throws: an error that names the file and what is wrong with it.
    package func check() throws(ControlServerError) {
        _ = try CertificateFiles(options: self) { _, _ in }.read()
    }
}
