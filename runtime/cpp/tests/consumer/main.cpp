#include <cstdio>
#include <trocar/trocar.hpp>

int main() {
    try {
        trocar::Session session("/nowhere");
    } catch (const trocar::Error &error) {
        std::printf("%s: %s\n%s\n", trocar_status_name(error.code()), error.what(),
                    error.remedy().c_str());
        return error.code() == TROCAR_ERROR_BUNDLE ? 0 : 1;
    }
    return 1;
}
