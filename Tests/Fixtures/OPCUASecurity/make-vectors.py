"""Writes vectors.json: what asyncua 2.1 and cryptography 50 make of every security policy, mode and key length.

Needs: pip install asyncua==2.1.0 cryptography. Keys and random paddings are new at every run; the file is committed, so
that the tests need no Python. Binary values are base64.
"""

import base64
import json
import pathlib
import struct
import datetime

from asyncua import ua
from asyncua.common.connection import MessageChunk
from asyncua.crypto import security_policies as policies
from asyncua.crypto import uacrypto
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def b64(data):
    return base64.b64encode(data).decode()


def identity(name, bits):
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2024, 1, 1))
        .not_valid_after(datetime.datetime(2044, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:test:" + name)]), False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def key_der(key):
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


CLASSES = {
    "Basic128Rsa15": policies.SecurityPolicyBasic128Rsa15,
    "Basic256": policies.SecurityPolicyBasic256,
    "Basic256Sha256": policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": policies.SecurityPolicyAes256Sha256RsaPss,
}
MODES = {"Sign": ua.MessageSecurityMode.Sign, "SignAndEncrypt": ua.MessageSecurityMode.SignAndEncrypt}
# Client and server key bits. Beyond 2048 bits the padding's size takes two bytes.
LENGTHS = {
    "Basic128Rsa15": [(1024, 2048)],
    "Basic256": [(2048, 1024)],
    "Basic256Sha256": [(2048, 2048), (3072, 2048)],
    "Aes128_Sha256_RsaOaep": [(2048, 2048), (2048, 4096)],
    "Aes256_Sha256_RsaPss": [(2048, 2048), (4096, 3072)],
}
PASSWORD = "pässwörd with € and a length that needs a second block of a short key"


def chunks(policy, body, kind, first, **keys):
    out = []
    for number, chunk in enumerate(MessageChunk.message_to_chunks(policy, body, 1024, kind, **keys), first):
        chunk.SequenceHeader.SequenceNumber = number
        out.append(b64(chunk.to_binary()))
    return out


def case(name, mode, identities, client_bits, server_bits):
    (client_key, client), (server_key, server) = identities[client_bits, 0], identities[server_bits, 1]
    client_der = client.public_bytes(serialization.Encoding.DER)
    server_der = server.public_bytes(serialization.Encoding.DER)
    cls = CLASSES[name]
    at_client = cls(server, client, client_key, MODES[mode])
    at_server = cls(client, server, server_key, MODES[mode])
    client_nonce = bytes(range(1, 1 + cls.secure_channel_nonce_length))
    server_nonce = bytes(range(101, 101 + cls.secure_channel_nonce_length))
    body = bytes(i * 7 & 255 for i in range(2_500))
    open_body = bytes(range(132))
    result = {
        "policy": name,
        "mode": mode,
        "clientCertificate": b64(client_der),
        "clientKey": b64(key_der(client_key)),
        "serverCertificate": b64(server_der),
        "serverKey": b64(key_der(server_key)),
        "clientNonce": b64(client_nonce),
        "serverNonce": b64(server_nonce),
        "openBody": b64(open_body),
        "body": b64(body),
        "openFromClient": chunks(at_client, open_body, ua.MessageType.SecureOpen, 1, channel_id=0, request_id=3),
        "openFromServer": chunks(at_server, open_body, ua.MessageType.SecureOpen, 51, channel_id=5, request_id=3),
    }
    for policy, local, remote in [(at_client, server_nonce, client_nonce), (at_server, client_nonce, server_nonce)]:
        policy.make_local_symmetric_key(local, remote)
        policy.make_remote_symmetric_key(remote, local, 3600000)
    keys = {"channel_id": 5, "token_id": 9, "request_id": 4}
    result["messageFromClient"] = chunks(at_client, body, ua.MessageType.SecureMessage, 2, **keys)
    result["messageFromServer"] = chunks(at_server, body, ua.MessageType.SecureMessage, 52, **keys)
    # Every length of padding once.
    result["short"] = [
        chunks(at_server, bytes(n), ua.MessageType.SecureMessage, 52, **keys)[0] for n in range(1, 18)
    ]
    # As asyncua's client builds the token and the session signature; in blocks, which a short key needs.
    secret = PASSWORD.encode()
    token = struct.pack("<I", len(secret) + len(server_nonce)) + secret + server_nonce
    result["password"] = b64(at_client.asymmetric_cryptography.Encryptor.encrypt(token))
    result["passwordAlgorithm"] = cls.AsymmetricEncryptionURI
    signature = at_server.asymmetric_cryptography.signature(client_der + client_nonce)
    result["serverSignature"] = b64(signature)
    result["signatureAlgorithm"] = at_server.AsymmetricSignatureURI
    return result


def main():
    identities = {(bits, side): identity(("client", "server")[side], bits)
                  for bits in (1024, 2048, 3072, 4096) for side in (0, 1)}
    cases = [
        case(name, mode, identities, *bits) for name in CLASSES for bits in LENGTHS[name] for mode in MODES
    ]
    secret, seed = b"secret", b"the seed"
    document = {
        "password": PASSWORD,
        "derivation": {
            "secret": b64(secret),
            "seed": b64(seed),
            "sha1": b64(b"".join(uacrypto.p_sha1(secret, seed, (24, 32, 16)))),
            "sha256": b64(b"".join(uacrypto.p_sha256(secret, seed, (32, 32, 16)))),
        },
        "cases": cases,
    }
    pathlib.Path(__file__).with_name("vectors.json").write_text(json.dumps(document, indent=1) + "\n")


main()
