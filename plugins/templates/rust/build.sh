#!/bin/sh
# Builds PLUGIN_NAME.wasm: the core module with Rust, the component with weir. WEIR names another weir.
set -eu
cd "$(dirname "$0")"

TARGET=wasm32-unknown-unknown
STD=/usr/lib/rustlib/src/rust/library # Debian's, for its own rustc
has_target() {
    ls "$(rustc --print target-libdir --target $TARGET 2>/dev/null)"/libstd-* >/dev/null 2>&1
}
WEIR=${WEIR:-weir}
if ! command -v "$WEIR" >/dev/null; then
    echo "weir is not on the PATH; add its folder, or set WEIR to where it is" >&2
    exit 1
fi

if command -v cargo >/dev/null && has_target; then
    cargo build --release --target $TARGET
elif [ -x /usr/bin/cargo ] && [ -f $STD/Cargo.toml ] && [ -e /usr/bin/rust-lld ]; then
    # No std for the target comes with it, so it is built with the rule.
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=/usr/bin/rust-lld \
        /usr/bin/cargo build --release --target $TARGET -Zbuild-std=std,panic_abort
else
    echo "No Rust for WebAssembly. With rustup (https://rustup.rs):" >&2
    echo "    rustup target add $TARGET" >&2
    echo "or on Debian and Ubuntu: apt-get install rustc-web cargo-web rust-web-src lld-22" >&2
    exit 1
fi
"$WEIR" plugin wrap target/$TARGET/release/rule.wasm -o PLUGIN_NAME.wasm
