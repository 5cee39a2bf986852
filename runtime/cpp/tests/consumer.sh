#!/bin/sh
# Installs the build, then builds the project in consumer/ against it, by CMake and by pkg-config.
#     consumer.sh BUILD_FOLDER CONSUMER_FOLDER CXX_COMPILER
set -eu
build=$1 source=$2 compiler=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }
# From a copy elsewhere: nothing may reach back into the source tree.
cp -r "$source" "$work/consumer"
cmake -S "$work/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" >"$work/log" \
    || { cat "$work/log"; exit 1; }
cmake --build "$work/build" >"$work/log" || { cat "$work/log"; exit 1; }
(cd "$work/build" && ctest --output-on-failure --no-tests=error) || exit 1
if grep -rq "$build" "$work/prefix" --include='*.cmake' --include='*.pc' --include='*.h*'; then
    echo "the installed package names the build folder"
    exit 1
fi
if command -v pkg-config >/dev/null; then
    PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name trocar.pc)")
    export PKG_CONFIG_PATH
    # shellcheck disable=SC2046
    "$compiler" -x c "$source/main.c" -x none -o "$work/by_pkg_config" $(pkg-config --cflags --libs trocar)
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir trocar) "$work/by_pkg_config"
fi
