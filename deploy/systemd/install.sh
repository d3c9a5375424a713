#!/bin/sh
# Puts the units and the settings in place; what is in /etc/andon already stays. Run it as root, from the sources.
#   deploy/systemd/install.sh [ROOT]
set -eu
here=$(dirname "$0") root=${1:-}
install -d -m 700 "$root/var/backups/andon" "$root/etc/andon/secrets"
install -d "$root/etc/andon" "$root/etc/systemd/system/andon-.service.d" "$root/usr/lib/sysusers.d"
install -m 644 "$here"/*.service "$here"/*.target "$here"/backup/*.service "$here"/backup/*.timer "$root/etc/systemd/system/"
install -m 644 "$here"/andon-.service.d/*.conf "$root/etc/systemd/system/andon-.service.d/"
install -m 644 "$here/andon.sysusers" "$root/usr/lib/sysusers.d/andon.conf"
for file in "$here/site.env" "$here"/../config/* "$here/../acls.toml" "$here/../policy.toml"; do
    [ -e "$root/etc/andon/${file##*/}" ] || install -m 644 "$file" "$root/etc/andon/"
done
[ -n "$root" ] || { systemd-sysusers; chown andon:andon /var/backups/andon; systemctl daemon-reload; }
