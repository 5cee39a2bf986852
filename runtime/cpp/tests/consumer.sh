#!/bin/sh
# Installs the build, then builds the project in consumer/ against it, by CMake and by pkg-config,
# and runs it; with a bundle and an ONNX Runtime library one frame goes through each program.
#     consumer.sh BUILD_FOLDER CONSUMER_FOLDER CXX_COMPILER [BUNDLE ONNXRUNTIME]
set -eu
build=$1 source=$2 compiler=$3 bundle=${4:-} onnxruntime=${5:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quietly() { "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }; }
quietly cmake --install "$build" --prefix "$work/prefix"
# From a copy elsewhere: nothing may reach back into the source tree.
cp -r "$source" "$work/consumer"
quietly cmake -S "$work/consumer" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" \
    -DCMAKE_CXX_COMPILER="$compiler" -DBUNDLE="$bundle" -DONNXRUNTIME="$onnxruntime"
quietly cmake --build "$work/build"
(cd "$work/build" && ctest --output-on-failure --no-tests=error) || exit 1
if grep -rq "$build" "$work/prefix" --include='*.cmake' --include='*.pc' --include='*.h*'; then
    echo "the installed package names the build folder"
    exit 1
fi
if command -v pkg-config >/dev/null; then
    PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name trocar.pc)")
    export PKG_CONFIG_PATH
    libraries=$(pkg-config --variable=libdir trocar)
    # shellcheck disable=SC2046
    "$compiler" -x c "$source/main.c" -x none -o "$work/shared" $(pkg-config --cflags --libs trocar)
    readelf -d "$work/shared" | grep -q 'NEEDED.*libtrocar\.so'
    LD_LIBRARY_PATH=$libraries "$work/shared"
    # The archive, by a folder that holds nothing else.
    mkdir "$work/only"
    cp "$libraries/libtrocar.a" "$work/only"
    # shellcheck disable=SC2046
    "$compiler" -x c "$source/main.c" -x none -o "$work/static" -L"$work/only" $(pkg-config --cflags --libs --static trocar |
        sed "s|-L$libraries||; s|-L[^ ]*/\.\./\.\./[^ ]*||")
    if readelf -d "$work/static" | grep -q 'NEEDED.*libtrocar'; then
        echo "the archive was not linked"
        exit 1
    fi
    "$work/static"
    [ -z "$bundle" ] || "$work/static" "$bundle" "$onnxruntime"
fi
