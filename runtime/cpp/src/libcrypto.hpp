// Public keys by OpenSSL's libcrypto, which is loaded when a signature is to be verified and not
// before: libtrocar is not linked to it.
//
//     PublicKey key("key.pub");
//     key.signed_by_owner(signature, data)
#pragma once

#include <string>
#include <string_view>

namespace trocar::detail {

/// A public key of Ed25519, or of ECDSA on P-256, P-384 or P-521.
class PublicKey {
  public:
    /// Reads a PEM file. Throws Error: CONFIG for a file that holds no such key, MISSING_EXTRA
    /// where there is no libcrypto.
    explicit PublicKey(const std::string &path);
    ~PublicKey();
    PublicKey(const PublicKey &) = delete;
    PublicKey &operator=(const PublicKey &) = delete;

    /// Whether the key's owner signed the data.
    bool signed_by_owner(std::string_view signature, std::string_view data) const;

  private:
    void *key_ = nullptr;
    std::string hash_;  // name of the hash of the signature; empty for Ed25519
};

}  // namespace trocar::detail
