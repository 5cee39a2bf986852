#!/usr/bin/env bash
# Installs Debian packages where that is possible, and says plainly what is missing where it is not.
# Usage: scripts/system_packages.sh PACKAGE…     Exit code 1 when a package is still missing.
set -uo pipefail
missing=()
for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

run=()
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null && run=(sudo -n)
fi
if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || [ ${#run[@]} -gt 0 ]; }; then
    echo "Installing Debian packages: ${missing[*]} …"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if { "${run[@]}" apt-get -qq update && "${run[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}"; } \
        >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -n 5 "$log" >&2
    rm -f "$log"
fi
echo "Could not install: ${missing[*]}. Install them by hand (apt-get install ${missing[*]}); what needs them is skipped." >&2
exit 1
