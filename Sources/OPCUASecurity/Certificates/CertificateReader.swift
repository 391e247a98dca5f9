import COpenSSL

/// Reads single fields out of OpenSSL's certificate handles. Nothing here keeps a handle.
enum CertificateReader {
    static func der(_ handle: OpaquePointer) -> [UInt8]? {
        let size = i2d_X509(handle, nil)
        guard size > 0 else { return nil }
        return [UInt8](unsafeUninitializedCapacity: Int(size)) { buffer, count in
            var next = buffer.baseAddress
            count = max(0, Int(i2d_X509(handle, &next)))
        }
    }

    /// Seconds since 1970; nil for what is not a time.
    static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
        guard let time, let epoch = ASN1_TIME_set(nil, 0) else { return nil }
        defer { ASN1_STRING_free(epoch) }
        var days: CInt = 0
        var seconds: CInt = 0
        // A null pointer would mean "now" to ASN1_TIME_diff.
        guard ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return nil }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    /// The name as RFC 2253 text, UTF-8.
    static func text(_ name: OpaquePointer?) -> String {
        guard let name, let bio = BIO_new(BIO_s_mem()) else { return "" }
        defer { BIO_free(bio) }
        guard X509_NAME_print_ex(bio, name, 0, shim_name_rfc2253()) >= 0 else { return "" }
        return String(decoding: OpenSSL.content(of: bio), as: UTF8.self)
    }

    static func commonName(_ name: OpaquePointer?) -> String? {
        let index = X509_NAME_get_index_by_NID(name, NID_commonName, -1)
        guard index >= 0, let entry = X509_NAME_get_entry(name, index) else { return nil }
        var start: UnsafeMutablePointer<UInt8>?
        let count = ASN1_STRING_to_UTF8(&start, X509_NAME_ENTRY_get_data(entry))
        guard count > 0, let start else { return nil }
        defer { CRYPTO_free(start, #file, #line) }
        return String(decoding: UnsafeBufferPointer(start: start, count: Int(count)), as: UTF8.self)
    }

    static func serialNumber(_ handle: OpaquePointer) -> String {
        guard let number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(handle), nil) else { return "" }
        defer { BN_free(number) }
        guard let text = BN_bn2hex(number) else { return "" }
        defer { CRYPTO_free(text, #file, #line) }
        return String(cString: text)
    }

    static func signatureHash(_ handle: OpaquePointer) -> Certificate.SignatureHash? {
        var digest: CInt = 0
        guard X509_get_signature_info(handle, &digest, nil, nil, nil) == 1 else { return nil }
        switch digest {
        case NID_sha1: return .sha1
        case NID_sha224, NID_sha256, NID_sha384, NID_sha512: return .sha2
        default: return nil
        }
    }

    /// The subject alternative names; at most 1000, so that a hostile certificate costs little.
    static func alternativeNames(
        _ handle: OpaquePointer
    ) -> (uris: [String], dnsNames: [String], ipAddresses: [String]) {
        var result: (uris: [String], dnsNames: [String], ipAddresses: [String]) = ([], [], [])
        guard let raw = X509_get_ext_d2i(handle, NID_subject_alt_name, nil, nil) else { return result }
        let names = OpaquePointer(raw)
        defer { GENERAL_NAMES_free(names) }
        for index in 0..<min(1000, OPENSSL_sk_num(names)) {
            guard let element = OPENSSL_sk_value(names, index) else { continue }
            let name = element.assumingMemoryBound(to: GENERAL_NAME.self)
            var kind: CInt = 0
            guard let value = GENERAL_NAME_get0_value(name, &kind) else { continue }
            switch kind {
            case GEN_URI, GEN_DNS:
                let bytes = Self.bytes(value)
                // A NUL inside a name is an attempt to be read as a shorter one.
                guard !bytes.isEmpty, !bytes.contains(0) else { continue }
                let text = String(decoding: bytes, as: UTF8.self)
                if kind == GEN_URI { result.uris.append(text) } else { result.dnsNames.append(text) }
            case GEN_IPADD:
                if let text = IPAddress(bytes: Array(Self.bytes(value)))?.description {
                    result.ipAddresses.append(text)
                }
            default: continue
            }
        }
        return result
    }

    private static func bytes(_ value: UnsafeMutableRawPointer) -> UnsafeBufferPointer<UInt8> {
        let string = UnsafePointer(value.assumingMemoryBound(to: ASN1_STRING.self))
        return UnsafeBufferPointer(start: ASN1_STRING_get0_data(string), count: Int(ASN1_STRING_length(string)))
    }
}
