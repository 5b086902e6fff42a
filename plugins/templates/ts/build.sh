#!/bin/sh
# Builds PLUGIN_NAME.wasm: tsc checks the types, esbuild makes one file of JavaScript, and
# componentize-qjs, which carries QuickJS, the component.
set -eu
cd "$(dirname "$0")"

if ! command -v npm >/dev/null; then
    echo "No npm. Install Node.js 20 or newer from https://nodejs.org, or: apt-get install nodejs npm" >&2
    exit 1
fi
if ! [ -x node_modules/.bin/componentize-qjs ]; then
    echo "installing what package.json names (once)"
    npm install --no-audit --no-fund --loglevel=error
fi

mkdir -p build
node_modules/.bin/tsc --project tsconfig.json
node_modules/.bin/esbuild src/rule.ts --bundle --format=esm --target=es2022 '--external:weir:*' \
    --log-level=warning --outfile=build/rule.js
# --sync: weir calls rules one after another and has no asynchronous component model.
node_modules/.bin/componentize-qjs --wit wit --world filter --sync --js build/rule.js -o PLUGIN_NAME.wasm
