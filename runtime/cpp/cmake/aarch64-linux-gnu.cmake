# Builds for 64-bit Arm on another machine, with Debian's g++-aarch64-linux-gnu; tests run under qemu-user where it is.
#
#     cmake -S runtime/cpp -B build-aarch64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
# Programs of this machine, libraries and packages of the other one.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
find_program(TROCAR_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(TROCAR_QEMU AND NOT CMAKE_CROSSCOMPILING_EMULATOR)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${TROCAR_QEMU};-L;/usr/aarch64-linux-gnu)
endif()
