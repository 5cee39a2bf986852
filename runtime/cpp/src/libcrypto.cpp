#include "libcrypto.hpp"

#include <dlfcn.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "error.hpp"

namespace trocar::detail {

namespace {

constexpr std::size_t max_key_bytes = 1 << 20;
constexpr const char *key_remedy =
    "write the public key: openssl pkey -in key.pem -pubout -out key.pub";

/// The functions of libcrypto in use; their types are all plain pointers here.
struct Library {
    void *(*bio_new)(const void *, int) = nullptr;
    int (*bio_free)(void *) = nullptr;
    void *(*read_public_key)(void *, void **, int (*)(char *, int, int, void *), void *) = nullptr;
    void (*key_free)(void *) = nullptr;
    int (*key_is_a)(const void *, const char *) = nullptr;
    int (*key_group)(const void *, char *, std::size_t, std::size_t *) = nullptr;
    void *(*context_new)() = nullptr;
    void (*context_free)(void *) = nullptr;
    int (*verify_init)(void *, void **, const char *, void *, const char *, void *,
                       const void *) = nullptr;
    int (*verify)(void *, const unsigned char *, std::size_t, const unsigned char *,
                  std::size_t) = nullptr;
    void (*clear_errors)() = nullptr;
};

/// Without it, an encrypted file would ask for a password on the terminal.
int no_password(char *, int, int, void *) { return -1; }

std::vector<std::string> candidates() {
    const char *set = std::getenv("TROCAR_LIBCRYPTO");
    if (set != nullptr && *set != '\0') return {set};
    return {"libcrypto.so.3", "libcrypto.so.4", "libcrypto.so"};
}

Library loaded() {
    std::string tried;
    for (const std::string &file : candidates()) {
        // Never closed: libcrypto registers handlers for the end of the process.
        void *handle = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) {
            const char *why = ::dlerror();
            tried += (tried.empty() ? "" : "; ") + std::string(why == nullptr ? file : why);
            continue;
        }
        Library library;
        std::string missing;
        const auto find = [&](auto &function, const char *name) {
            void *symbol = ::dlsym(handle, name);
            if (symbol == nullptr && missing.empty()) missing = name;
            std::memcpy(&function, &symbol, sizeof symbol);
        };
        find(library.bio_new, "BIO_new_mem_buf");
        find(library.bio_free, "BIO_free");
        find(library.read_public_key, "PEM_read_bio_PUBKEY");
        find(library.key_free, "EVP_PKEY_free");
        find(library.key_is_a, "EVP_PKEY_is_a");
        find(library.key_group, "EVP_PKEY_get_group_name");
        find(library.context_new, "EVP_MD_CTX_new");
        find(library.context_free, "EVP_MD_CTX_free");
        find(library.verify_init, "EVP_DigestVerifyInit_ex");
        find(library.verify, "EVP_DigestVerify");
        find(library.clear_errors, "ERR_clear_error");
        if (missing.empty()) return library;
        tried += (tried.empty() ? "" : "; ") + file + " has no " + missing +
                 ", so it is not OpenSSL 3 or newer";
    }
    throw Error(TROCAR_ERROR_MISSING_EXTRA,
                "a signature is to be verified, and OpenSSL's libcrypto cannot be loaded: " + tried,
                "install OpenSSL 3 (Debian: apt-get install libssl3), or name its libcrypto.so in "
                "the variable TROCAR_LIBCRYPTO");
}

const Library &libcrypto() {
    static const Library library = loaded();  // tried again after a failure
    return library;
}

std::string bytes_of(const std::string &path) {
    const auto close = [](std::FILE *file) { std::fclose(file); };
    std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path.c_str(), "rb"), close);
    std::string data(max_key_bytes + 1, '\0');
    const std::size_t size = file ? std::fread(data.data(), 1, data.size(), file.get()) : 0;
    if (!file || std::ferror(file.get()) != 0)
        throw Error(TROCAR_ERROR_CONFIG, "cannot read " + path + ": " + std::strerror(errno),
                    "name a PEM file that exists");
    if (size > max_key_bytes)
        throw Error(TROCAR_ERROR_CONFIG,
                    path + " cannot be read as a public key: it is longer than " +
                        std::to_string(max_key_bytes) + " bytes",
                    key_remedy);
    data.resize(size);
    return data;
}

/// Name of the hash that belongs to the curve of an ECDSA key; empty for other curves.
std::string hash_of_curve(const std::string &curve) {
    if (curve == "prime256v1") return "SHA256";
    if (curve == "secp384r1") return "SHA384";
    if (curve == "secp521r1") return "SHA512";
    return {};
}

}  // namespace

PublicKey::PublicKey(const std::string &path) {
    const std::string pem = bytes_of(path);
    if (pem.find("BEGIN CERTIFICATE") != std::string::npos)
        throw Error(TROCAR_ERROR_CONFIG, path + " holds certificates, expected a public key",
                    "write the key of the signer's certificate: openssl x509 -in " + path +
                        " -pubkey -noout -out key.pub");
    const Library &library = libcrypto();
    void *bio = library.bio_new(pem.data(), static_cast<int>(pem.size()));
    if (bio == nullptr) throw std::bad_alloc();
    key_ = library.read_public_key(bio, nullptr, no_password, nullptr);
    library.bio_free(bio);
    library.clear_errors();
    if (key_ == nullptr)
        throw Error(TROCAR_ERROR_CONFIG, path + " cannot be read as a public key", key_remedy);
    char curve[80] = "of another kind";
    std::size_t length = 0;
    const bool has_curve = library.key_is_a(key_, "EC") == 1 &&
                           library.key_group(key_, curve, sizeof curve, &length) == 1;
    if (has_curve) hash_ = hash_of_curve(curve);
    const bool is_known = library.key_is_a(key_, "ED25519") == 1 || !hash_.empty();
    library.clear_errors();
    if (is_known) return;
    library.key_free(key_);
    throw Error(TROCAR_ERROR_CONFIG,
                path + " holds a key of kind " + curve +
                    ", expected ECDSA on P-256, P-384 or P-521, or Ed25519",
                "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem");
}

PublicKey::~PublicKey() { libcrypto().key_free(key_); }

bool PublicKey::signed_by_owner(std::string_view signature, std::string_view data) const {
    const Library &library = libcrypto();
    void *context = library.context_new();
    if (context == nullptr) throw std::bad_alloc();
    const auto bytes = [](std::string_view text) {
        return reinterpret_cast<const unsigned char *>(text.data());
    };
    const char *hash = hash_.empty() ? nullptr : hash_.c_str();
    const bool good =
        library.verify_init(context, nullptr, hash, nullptr, nullptr, key_, nullptr) == 1 &&
        library.verify(context, bytes(signature), signature.size(), bytes(data), data.size()) == 1;
    library.context_free(context);
    library.clear_errors();
    return good;
}

}  // namespace trocar::detail
