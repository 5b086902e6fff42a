#!/bin/sh
# Builds PLUGIN_NAME.wasm with componentize-qjs, which carries QuickJS.
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

# --sync: weir calls rules one after another and has no asynchronous component model.
node_modules/.bin/componentize-qjs --wit wit --world filter --sync \
    --js src/rule.js --module-root src -o PLUGIN_NAME.wasm
