/// The security policies of Part 7, 6.6 that this product knows, each with the algorithms and lengths of its profile.
package enum SecurityPolicy: String, CaseIterable, Sendable {
    /// Part 7, "SecurityPolicy - None".
    case none = "http://opcfoundation.org/UA/SecurityPolicy#None"
    /// Part 7, "SecurityPolicy [B] - Basic128Rsa15": deprecated since 1.04 for PKCS #1 v1.5 encryption and SHA-1.
    case basic128Rsa15 = "http://opcfoundation.org/UA/SecurityPolicy#Basic128Rsa15"
    /// Part 7, "SecurityPolicy [B] - Basic256": deprecated since 1.04 for SHA-1.
    case basic256 = "http://opcfoundation.org/UA/SecurityPolicy#Basic256"
    /// Part 7, "SecurityPolicy [B] - Basic256Sha256".
    case basic256Sha256 = "http://opcfoundation.org/UA/SecurityPolicy#Basic256Sha256"
    /// Part 7, "SecurityPolicy [A] - Aes128-Sha256-RsaOaep".
    case aes128Sha256RsaOaep = "http://opcfoundation.org/UA/SecurityPolicy#Aes128_Sha256_RsaOaep"
    /// Part 7, "SecurityPolicy - Aes256-Sha256-RsaPss".
    case aes256Sha256RsaPss = "http://opcfoundation.org/UA/SecurityPolicy#Aes256_Sha256_RsaPss"

    package var uri: String { rawValue }

    /// The part of the URI after `#`, which is also what stands in configurations.
    package var name: String {
        let fragment = rawValue.drop { $0 != "#" }
        return String(fragment.dropFirst())
    }

    /// Accepts a full URI or the name after its `#`; nil for anything else.
    package init?(_ text: String) {
        guard let policy = Self.allCases.first(where: { $0.uri == text || $0.name == text }) else { return nil }
        self = policy
    }

    /// Broken algorithms: to be used only where the operator allowed it.
    package var isDeprecated: Bool { self == .basic128Rsa15 || self == .basic256 }

    /// AsymmetricSignatureAlgorithm of the profile; nil for None.
    package var asymmetricSignature: RSASignatureAlgorithm? {
        switch self {
        case .none: nil
        case .basic128Rsa15, .basic256: .pkcs1Sha1
        case .basic256Sha256, .aes128Sha256RsaOaep: .pkcs1Sha256
        case .aes256Sha256RsaPss: .pssSha256
        }
    }

    /// AsymmetricEncryptionAlgorithm of the profile; nil for None.
    package var asymmetricEncryption: RSAEncryptionAlgorithm? {
        switch self {
        case .none: nil
        case .basic128Rsa15: .pkcs1
        case .basic256, .basic256Sha256, .aes128Sha256RsaOaep: .oaepSha1
        case .aes256Sha256RsaPss: .oaepSha256
        }
    }

    /// The hash of SymmetricSignatureAlgorithm (HMAC) and of KeyDerivationAlgorithm (P_SHA1 or P_SHA256).
    package var hash: HashAlgorithm { isDeprecated ? .sha1 : .sha256 }

    /// Bytes of a symmetric signature.
    package var symmetricSignatureSize: Int { self == .none ? 0 : hash.size }

    /// DerivedSignatureKeyLength of the profile, in bytes.
    package var signingKeySize: Int {
        switch self {
        case .none: 0
        case .basic128Rsa15: 16
        case .basic256: 24
        case .basic256Sha256, .aes128Sha256RsaOaep, .aes256Sha256RsaPss: 32
        }
    }

    /// Key bytes of SymmetricEncryptionAlgorithm, AES-CBC with 128 or 256 bits.
    package var encryptionKeySize: Int {
        switch self {
        case .none: 0
        case .basic128Rsa15, .aes128Sha256RsaOaep: 16
        case .basic256, .basic256Sha256, .aes256Sha256RsaPss: 32
        }
    }

    /// EncryptionBlockSize of AES; also the length of the initialization vector (Part 6, 6.7.5).
    package static let blockSize = 16

    /// MinAsymmetricKeyLength … MaxAsymmetricKeyLength of the profile, in bits; nil for None.
    package var keyBits: ClosedRange<Int>? {
        switch self {
        case .none: nil
        case .basic128Rsa15, .basic256: 1024...2048
        case .basic256Sha256, .aes128Sha256RsaOaep, .aes256Sha256RsaPss: 2048...4096
        }
    }

    /// SecureChannelNonceLength of the profile, in bytes.
    package var nonceLength: Int {
        switch self {
        case .none: 0
        case .basic128Rsa15: 16
        case .basic256, .basic256Sha256, .aes128Sha256RsaOaep, .aes256Sha256RsaPss: 32
        }
    }
}
