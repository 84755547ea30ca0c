#!/bin/sh
# Installs Chromium and its driver for the tests of the review page, where they are missing (Debian, Ubuntu).
set -eu
command -v chromium > /dev/null && command -v chromedriver > /dev/null && exit 0
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
$as_root apt-get -qq -o Acquire::Retries=3 update
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Acquire::Retries=3 install \
    --no-install-recommends chromium chromium-driver > /dev/null
command -v chromium > /dev/null && command -v chromedriver > /dev/null
