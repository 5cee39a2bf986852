# Debian packages of the library and of what a program is built with:
#
#     cmake -S runtime/cpp -B build -DCMAKE_INSTALL_PREFIX=/usr && cmake --build build && cpack --config build/CPackConfig.cmake
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME trocar)
set(CPACK_PACKAGE_VENDOR Trocar)
set(CPACK_PACKAGE_CONTACT "Trocar maintainers <maintainers@trocar.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Opens a Trocar bundle and finds instruments in frames")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_CURRENT_SOURCE_DIR}/../../LICENSE)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL runtime dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libtrocar${TROCAR_ABI})
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_RUNTIME_DESCRIPTION "Trocar: finds instruments in surgical video (library)
 It loads ONNX Runtime 1.17 or newer when a session is opened, and OpenSSL
 when a signature is to be verified.")
# Both are loaded when they are needed, so no linker knows of them.
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SUGGESTS "libonnxruntime1.21, libssl3")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libtrocar-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_DESCRIPTION "Trocar: finds instruments in surgical video (headers)
 Headers for C and C++, the static library, and the packages for CMake and
 pkg-config.")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libtrocar${TROCAR_ABI} (= ${PROJECT_VERSION})")
find_program(TROCAR_SHLIBDEPS dpkg-shlibdeps)
if(TROCAR_SHLIBDEPS)
    set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
else()
    set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS "libc6, libstdc++6, libgcc-s1")
endif()
include(CPack)
