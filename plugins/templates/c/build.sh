#!/bin/sh
# Builds PLUGIN_NAME.wasm: the core module with clang and wasi-libc (or zig, which brings both), the
# component with weir. CC names another clang, WEIR another weir.
set -eu
cd "$(dirname "$0")"
mkdir -p build

# Debian's wasi-libc lies in the folder of this older name of the target; other clangs complain.
works() {
    echo '#include <stdlib.h>' >build/try.c
    $1 build/try.c -mexec-model=reactor -o build/try.wasm 2>build/try.log
}
for cc in ${CC:+"$CC --target=wasm32-wasi"} \
    "clang-22 --target=wasm32-wasi" "clang-21 --target=wasm32-wasi" "clang-20 --target=wasm32-wasi" \
    "clang-19 --target=wasm32-wasi" "clang --target=wasm32-wasi" \
    "zig cc -target wasm32-wasi" "python3 -m ziglang cc -target wasm32-wasi" none; do
    # A list of words on purpose: the compiler and its target.
    if [ "$cc" != none ] && works "$cc"; then break; fi
done
if [ "$cc" = none ]; then
    echo "No C compiler for WebAssembly. On Debian and Ubuntu:" >&2
    echo "    apt-get install clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc" >&2
    echo "or anywhere: pip install ziglang" >&2
    exit 1
fi
WEIR=${WEIR:-weir}
if ! command -v "$WEIR" >/dev/null; then
    echo "weir is not on the PATH; add its folder, or set WEIR to where it is" >&2
    exit 1
fi

# The stack stands first in memory, so that an overflow is a trap and overwrites nothing.
$cc -mexec-model=reactor -O2 -s -Wall -Wextra -Wno-deprecated -Igen \
    -Wl,--stack-first -Wl,-z,stack-size=131072 \
    src/*.c gen/filter.c -o build/core.wasm
"$WEIR" plugin wrap build/core.wasm -o PLUGIN_NAME.wasm
