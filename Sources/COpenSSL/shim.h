#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

// OSSL_PARAM keeps the pointer of its key. Swift would pass a temporary copy of these string macros.
static inline const char *shim_kdf_digest(void) { return OSSL_KDF_PARAM_DIGEST; }
static inline const char *shim_kdf_secret(void) { return OSSL_KDF_PARAM_SECRET; }
static inline const char *shim_kdf_seed(void) { return OSSL_KDF_PARAM_SEED; }
static inline const char *shim_mac_digest(void) { return OSSL_MAC_PARAM_DIGEST; }

// Flags that Swift does not import because they are made of other macros.
static inline unsigned long shim_name_rfc2253(void) { return XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB; }
