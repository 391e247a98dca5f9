"""Certificates for the tests: application instances, users, authorities and revocation lists, as files."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


class Identity:
    """A certificate and its key; `der` and `key` are the paths of their files."""

    def __init__(self, folder, name, certificate, private_key):
        self.certificate, self.private_key = certificate, private_key
        folder.mkdir(parents=True, exist_ok=True)
        self.der, self.pem, self.key = folder / f"{name}.der", folder / f"{name}.pem", folder / f"{name}-key.pem"
        self.der.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            private_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.key.chmod(0o600)

    @property
    def thumbprint(self):
        return self.certificate.fingerprint(hashes.SHA1()).hex()


def make(folder, name, *, uri=None, hosts=("127.0.0.1", "localhost"), issuer=None, authority=False, days=(-1, 365)):
    """A new key and certificate, self-signed or by `issuer`; valid from and until so many days from now."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.UniformResourceIdentifier(uri)] if uri else []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
                key_agreement=False, key_cert_sign=authority or not issuer, crl_sign=authority, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if not authority:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    signer = issuer.private_key if issuer else key
    return Identity(folder, name, builder.sign(signer, hashes.SHA256()), key)


def revocation_list(path, issuer, revoked=()):
    """Writes the issuer's list of revoked certificates."""
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject).last_update(now - DAY).next_update(now + 30 * DAY)
    )
    for each in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(each.certificate.serial_number).revocation_date(now - DAY).build()
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(builder.sign(issuer.private_key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
