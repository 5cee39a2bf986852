#include "signature.hpp"

#include <stdexcept>

#include "error.hpp"
#include "guard.hpp"
#include "json.hpp"
#include "libcrypto.hpp"
#include "sha256.hpp"

namespace trocar::detail {

namespace {

using Kind = Json::Kind;

constexpr const char *signature_name = "model.sig";
constexpr const char *payload_type = "application/vnd.in-toto+json";
constexpr const char *statement_type = "https://in-toto.io/Statement/v1";
constexpr const char *predicate_type = "https://model_signing/signature/v1.0";
constexpr const char *media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr std::size_t max_signature_bytes = 4 << 20;

struct Envelope {
    std::string payload;
    std::string signature;
};

[[noreturn]] void malformed(const std::string &what) { throw std::invalid_argument(what); }

const Json &member(const Json &object, const char *name) {
    const Json *found = object.is(Kind::object) ? object.find(name) : nullptr;
    if (found == nullptr) malformed(std::string("it lacks ") + quoted(name));
    return *found;
}

bool has_text(const Json &object, const char *name, const char *text) {
    const Json *found = object.is(Kind::object) ? object.find(name) : nullptr;
    return found != nullptr && found->is(Kind::text) && found->text == text;
}

int sextet(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

std::string from_base64(const Json &value) {
    if (!value.is(Kind::text) || value.text.size() % 4 != 0) malformed("a value is not base64");
    std::string_view text = value.text;
    for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i) text.remove_suffix(1);
    std::string data;
    data.reserve(text.size() * 3 / 4);
    unsigned held = 0;
    int bits = 0;
    for (const char c : text) {
        const int value_of = sextet(c);
        if (value_of < 0) malformed("a value is not base64");
        held = (held << 6 | static_cast<unsigned>(value_of)) & 0xFFFF;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            data.push_back(static_cast<char>(held >> bits & 0xFF));
        }
    }
    return data;
}

bool is_nothing(const Json &value) {
    switch (value.kind) {
        case Kind::null:
            return true;
        case Kind::boolean:
            return !value.boolean;
        case Kind::integer:
        case Kind::real:
            return value.number == 0;
        case Kind::text:
            return value.text.empty();
        case Kind::array:
            return value.items.empty();
        case Kind::object:
            return value.members.empty();
    }
    return false;
}

/// The certificates are not used, but they must be readable.
void check_chain(const Json &material) {
    if (!material.is(Kind::object)) malformed("its verification material is no object");
    const Json *chain = material.find("x509CertificateChain");
    if (chain == nullptr || is_nothing(*chain)) return;
    if (!chain->is(Kind::object)) malformed("its chain of certificates is no object");
    const Json *certificates = chain->find("certificates");
    if (certificates == nullptr) return;
    if (!certificates->is(Kind::array)) malformed("its certificates are no array");
    for (const Json &certificate : certificates->items)
        from_base64(member(certificate, "rawBytes"));
}

Envelope read_envelope(const std::string &text) {
    const Json document = parse_json(text);
    if (!has_text(document, "mediaType", media_type))
        malformed(std::string("its media type is not ") + media_type);
    const Json &envelope = member(document, "dsseEnvelope");
    if (!has_text(envelope, "payloadType", payload_type))
        malformed(std::string("its payload is not ") + payload_type);
    const Json &signatures = member(envelope, "signatures");
    if (!signatures.is(Kind::array) || signatures.items.size() != 1)
        malformed("it has not exactly one signature");
    check_chain(member(document, "verificationMaterial"));
    return {from_base64(member(envelope, "payload")),
            from_base64(member(signatures.items[0], "sig"))};
}

/// The canonical hash of the manifest that a verified statement signs; empty where it signs
/// another manifest.json than `document`.
std::string signed_manifest(const std::string &payload, const std::string &document) {
    const Json statement = parse_json(payload);
    if (!has_text(statement, "_type", statement_type))
        malformed(std::string("it is no ") + statement_type);
    if (!has_text(statement, "predicateType", predicate_type))
        malformed(std::string("its predicate is not ") + predicate_type);
    const Json &predicate = member(statement, "predicate");
    if (!predicate.is(Kind::object)) malformed("it has no predicate");
    const Json *own = predicate.find("trocar");
    if (own != nullptr && own->is(Kind::object)) {
        const Json *hash = own->find("manifest_sha256");
        return hash != nullptr && hash->is(Kind::text) ? hash->text : std::string();
    }
    const Json *resources = predicate.find("resources");
    if (resources == nullptr) return {};
    // A statement of another tool lists the hashes of the files.
    const std::string digest = sha256_hex(document);
    for (const Json &resource : resources->items)
        if (has_text(resource, "name", "manifest.json") &&
            has_text(resource, "algorithm", "sha256") &&
            has_text(resource, "digest", digest.c_str()))
            return manifest_sha256(document);
    return {};
}

[[noreturn]] void refused(const std::string &message, const std::string &remedy) {
    throw Error(TROCAR_ERROR_INTEGRITY, message, remedy);
}

}  // namespace

void verify_signature(const Bundle &bundle, const std::string &trust) {
    const PublicKey key(trust);
    const std::string file = bundle.root + "/" + signature_name;
    if (!is_regular_file(file))
        refused(bundle.root + " is not signed, and " + trust + " was named as trusted",
                "ask for the signed bundle, or sign it: trocar sign BUNDLE --key KEY");
    const std::string text = read_file(file);
    Envelope envelope;
    try {
        if (text.size() > max_signature_bytes)
            malformed("it is longer than " + std::to_string(max_signature_bytes) + " bytes");
        envelope = read_envelope(text);
    } catch (const std::invalid_argument &error) {
        refused(file + " is no signature of a model: " + error.what(), "copy the bundle again");
    }
    const std::string head = std::string("DSSEv1 ") +
                             std::to_string(std::string_view(payload_type).size()) + " " +
                             payload_type + " " + std::to_string(envelope.payload.size()) + " ";
    if (!key.signed_by_owner(envelope.signature, head + envelope.payload))
        refused(file + " was not signed with the key of " + trust,
                "ask who signed the bundle for their public key, by another way than the bundle");
    std::string digest;
    try {
        digest = signed_manifest(envelope.payload, bundle.document);
    } catch (const std::invalid_argument &error) {
        refused(file + " signs something else than a model: " + error.what(),
                "sign the bundle again");
    }
    if (digest.empty() || digest != bundle.sha256)
        refused(
            bundle.root + " was changed after it was signed: its manifest is not the signed one",
            "copy the bundle again from where it was signed, or sign the changed one");
}

}  // namespace trocar::detail
