/// How a private key signs (Part 7, "Asymmetric Signature Algorithm").
package enum RSASignatureAlgorithm: String, CaseIterable, Sendable {
    /// RSASSA-PKCS1-v1_5 of RFC 8017 with SHA-1.
    case pkcs1Sha1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
    /// RSASSA-PKCS1-v1_5 of RFC 8017 with SHA-256.
    case pkcs1Sha256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
    /// RSASSA-PSS of RFC 8017 with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes.
    case pssSha256 = "http://opcfoundation.org/UA/security/rsa-pss-sha2-256"

    /// What stands in SignatureData.algorithm (Part 4, 7.37).
    package var uri: String { rawValue }

    package var hash: HashAlgorithm { self == .pkcs1Sha1 ? .sha1 : .sha256 }
}

/// How a public key encrypts (Part 7, "Asymmetric Encryption Algorithm").
package enum RSAEncryptionAlgorithm: String, CaseIterable, Sendable {
    /// RSAES-PKCS1-v1_5 of RFC 8017.
    case pkcs1 = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"
    /// RSAES-OAEP of RFC 8017 with SHA-1.
    case oaepSha1 = "http://www.w3.org/2001/04/xmlenc#rsa-oaep"
    /// RSAES-OAEP of RFC 8017 with SHA-256, for the mask generation too.
    case oaepSha256 = "http://opcfoundation.org/UA/security/rsa-oaep-sha2-256"

    /// What stands in UserNameIdentityToken.encryptionAlgorithm (Part 4, 7.41.4).
    package var uri: String { rawValue }

    /// Bytes a block loses to padding (RFC 8017, 7.1.1 and 7.2.1): the key's length less this is one plaintext block.
    package var overhead: Int {
        switch self {
        case .pkcs1: 11
        case .oaepSha1: 2 * 20 + 2
        case .oaepSha256: 2 * 32 + 2
        }
    }
}
