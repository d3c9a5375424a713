#!/bin/sh
# What the image installs: Andon's stages in an environment of their own, without pip, and without those parts of their
# packages that no stage loads. A test does the same, runs the stages' commands there, and weighs it.
#   install.sh VENV REQUIREMENTS SOURCE
set -eu
venv=$1 requirements=$2 source=$3
python3 -m venv --without-pip "$venv"
pip() { python3 -m pip --quiet --disable-pip-version-check --no-input --python "$venv/bin/python" "$@"; }
pip install --no-cache-dir --require-hashes --only-binary :all: --requirement "$requirements"
pip install --no-cache-dir --no-deps "$source"

cd "$venv"/lib/python3*/site-packages
# Arrow's RPC and cloud storage, headers for compilers; numpy's for Fortran; the second of two bindings of zstd.
rm -rf pyarrow/*flight* pyarrow/*s3* pyarrow/include pyarrow/includes pyarrow/src numpy/f2py numpy/*/include \
    zstandard/_cffi.*.so
find . -name '*.h' -delete
find pyarrow numpy faust cryptography -depth -type d -name tests -exec rm -rf {} +
# What debuggers alone read, where there is a strip; not of libraries that were moved by patching, which it would break.
if command -v strip > /dev/null; then
    find . -name '*.so*' -type f -not -path '*.libs/*' -exec strip --strip-unneeded {} +
fi
