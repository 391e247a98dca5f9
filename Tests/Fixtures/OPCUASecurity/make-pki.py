"""Writes pki.json: certificates and revocation lists of a small plant, as Python's cryptography makes them (base64 of DER).

Needs: pip install cryptography, and openssl for the one that cryptography refuses to make. Keys are new at every run and
thrown away; the file is committed. The tests set their clock to 2030-01-01: everything is valid then where the name does
not say otherwise.
"""

import base64
import datetime
import ipaddress
import json
import pathlib
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

START, END = datetime.datetime(2024, 1, 1), datetime.datetime(2044, 1, 1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
APPLICATION = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
AUTHORITY = ("key_cert_sign", "crl_sign")
USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def new_key(bits=2048):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def make(subject, key, issuer=None, usage=APPLICATION, ca=False, extended=(SERVER, CLIENT), uri="urn:plant:server",
         hosts=("plc.example",), addresses=("192.0.2.10",), start=START, end=END, path=None):
    """issuer: (certificate, key); ca: None leaves the basic constraints out."""
    issuer_name = issuer[0].subject if issuer else name(subject)
    builder = (
        x509.CertificateBuilder().subject_name(name(subject)).issuer_name(issuer_name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        .add_extension(x509.KeyUsage(**{each: each in usage for each in USAGES}), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer[1] if issuer else key).public_key()), False)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path if ca else None), True)
    if not ca:
        names = [x509.UniformResourceIdentifier(uri)] + [x509.DNSName(each) for each in hosts]
        names += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), False)
    return builder.sign((issuer[1] if issuer else key), hashes.SHA256())


def revocations(issuer, revoked=(), start=START, end=END, key=None):
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer[0].subject).last_update(start).next_update(end)
    for each in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(start).build())
    return builder.sign(key or issuer[1], hashes.SHA256())


def with_sha1():
    command = "openssl req -x509 -sha1 -newkey rsa:2048 -nodes -keyout /dev/null -outform DER -days 7000".split()
    names = "subjectAltName=URI:urn:plant:server,DNS:plc.example"
    result = subprocess.run(command + ["-subj", "/CN=weak hash", "-addext", names], capture_output=True, check=True)
    return x509.load_der_x509_certificate(result.stdout)


def main():
    keys = [new_key() for _ in range(6)]
    out = {}
    root = make("root", keys[0], usage=AUTHORITY, ca=True)
    area = make("area", keys[1], (root, keys[0]), usage=AUTHORITY, ca=True)
    area_issuer, root_issuer = (area, keys[1]), (root, keys[0])
    out["root"], out["area"] = root, area
    out["rootWithOtherKey"] = make("root", keys[4], usage=AUTHORITY, ca=True)
    out["areaWithOtherKey"] = make("area", keys[4], (root, keys[0]), usage=AUTHORITY, ca=True)
    out["server"] = make("server", keys[2], area_issuer)
    out["serverOfRoot"] = make("server of root", keys[2], root_issuer)
    out["revoked"] = make("revoked", keys[2], area_issuer)
    out["wildcard"] = make("wildcard", keys[2], area_issuer, hosts=("*.plant.example", "10.1.2.3"), addresses=("2001:db8::5",))
    out["weakHash"] = with_sha1()
    out["expiredServer"] = make("expired server", keys[2], area_issuer, end=datetime.datetime(2025, 1, 1))
    expired_area = make("expired area", keys[3], root_issuer, usage=AUTHORITY, ca=True, end=datetime.datetime(2025, 1, 1))
    out["expiredArea"] = expired_area
    out["serverOfExpiredArea"] = make("server of expired area", keys[2], (expired_area, keys[3]))
    revoked_area = make("revoked area", keys[3], root_issuer, usage=AUTHORITY, ca=True)
    out["revokedArea"] = revoked_area
    out["serverOfRevokedArea"] = make("server of revoked area", keys[2], (revoked_area, keys[3]))
    # An authority that may not have authorities below it, and one there all the same.
    narrow = make("narrow", keys[3], usage=AUTHORITY, ca=True, path=0)
    below = make("below", keys[4], (narrow, keys[3]), usage=AUTHORITY, ca=True)
    out["narrow"], out["below"] = narrow, below
    out["serverOfBelow"] = make("server of below", keys[2], (below, keys[4]))
    # A peer's own certificate that signs another one.
    peer = make("peer", keys[5], usage=APPLICATION + ("key_cert_sign",))
    out["peer"] = peer
    out["serverOfPeer"] = make("server of peer", keys[2], (peer, keys[5]))
    loose = make("loose peer", keys[5], usage=APPLICATION + ("key_cert_sign",), ca=None)
    out["loosePeer"] = loose
    out["serverOfLoosePeer"] = make("server of loose peer", keys[2], (loose, keys[5]))
    out["selfSigned"] = make("self-signed", keys[2], usage=APPLICATION + ("key_cert_sign",))
    out["expired"] = make("expired", keys[2], end=datetime.datetime(2025, 1, 1))
    out["future"] = make("future", keys[2], start=datetime.datetime(2040, 1, 1))
    out["short"] = make("short", new_key(1024))
    out["noEncipherment"] = make("no encipherment", keys[2], usage=("digital_signature",))
    out["clientOnly"] = make("client only", keys[2], extended=(CLIENT,))
    out["oldStyle"] = make("old style", keys[2], ca=None, extended=())
    lists = {
        "rootList": revocations(root_issuer, [revoked_area]),
        "areaList": revocations(area_issuer, [out["revoked"]]),
        "areaListForged": revocations(area_issuer, [], key=keys[4]),
        "areaListOld": revocations(area_issuer, [], end=datetime.datetime(2025, 1, 1)),
        "revokedAreaList": revocations((revoked_area, keys[3])),
        "expiredAreaList": revocations((expired_area, keys[3])),
        "narrowList": revocations((narrow, keys[3])),
        "belowList": revocations((below, keys[4])),
        "peerList": revocations((peer, keys[5])),
    }
    encoded = {
        each: base64.b64encode(value.public_bytes(serialization.Encoding.DER)).decode()
        for each, value in (out | lists).items()
    }
    pathlib.Path(__file__).with_name("pki.json").write_text(json.dumps(encoded, indent=1) + "\n")


main()
