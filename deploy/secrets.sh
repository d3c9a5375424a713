#!/usr/bin/env bash
# Makes every secret that a deployment of Andon needs, for compose, Helm and systemd alike, and no default is anywhere.
#   deploy/secrets.sh DIR [--fleet NAME] [--name HOST]... [--owner UID]
# DIR is made with mode 700; files inside are readable to whoever they are handed to, one by one. What is there already
# stays as it is, so it may be run again. `--fleet`: a sender's token for this fleet (acme). `--name`: a name or address
# under which Kafka is reached from outside, for its certificate. `--owner`: the user whose detector signs (10001, that
# of the image). Needs openssl, and root, for that file is another user's. See deploy/README.md.
set -euo pipefail
umask 077

usage() { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[[ $# -ge 1 && $1 != -* ]] || usage
dir=$1 fleet=acme owner=10001 names=()
shift
while [[ $# -gt 0 ]]; do
    [[ $# -ge 2 ]] || usage
    case $1 in
        --fleet) fleet=$2 ;;
        --name) names+=("$2") ;;
        --owner) owner=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[[ $fleet =~ ^[A-Za-z0-9._-]{1,64}$ ]] || { echo "secrets.sh: --fleet $fleet: letters, digits, . _ - only" >&2; exit 2; }
[[ $(id -u) -eq 0 ]] || { echo "secrets.sh: run it as root: what is trusted must be root's, the detector's key its own" >&2; exit 2; }

mkdir -p "$dir"
cd "$dir"
chmod 700 .

# put NAME [MODE]: standard input becomes the file, whole or not at all.
put() {
    cat > ".$1.new"
    [[ -s .$1.new ]] || { echo "secrets.sh: $1: nothing came" >&2; exit 1; }
    chmod "${2:-444}" ".$1.new"
    mv ".$1.new" "$1"
    echo "made $dir/$1"
}
word() { openssl rand -base64 33 | tr '+/' '-_' | tr -d '\n'; }
password() { [[ -e $1 ]] || word | put "$1"; }

# Kafka: an account a role (deploy/acls.toml), and the brokers' own, which administers.
roles=(andon-collect andon-combine andon-correlate andon-archive andon-notify andon-operator andon-watch andon-deadletter andon-replay andon-backup rollout)
for user in admin "${roles[@]}"; do password "kafka-$user"; done
if [[ ! -e kafka-jaas.conf ]]; then
    {
        echo 'KafkaServer {'
        echo '    org.apache.kafka.common.security.plain.PlainLoginModule required'
        printf '    username="admin" password="%s"\n' "$(cat kafka-admin)"
        for user in admin "${roles[@]}"; do printf '    user_%s="%s"\n' "$user" "$(cat "kafka-$user")"; done
        echo '    ;'
        echo '};'
    } | put kafka-jaas.conf
fi

# TLS: an authority of one's own, and the brokers' certificate. ca.key is needed to renew it: keep it elsewhere.
if [[ ! -e ca.key ]]; then openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null | put ca.key 400; fi
if [[ ! -e ca.pem ]]; then
    openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj '/CN=Andon Kafka authority' \
        -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' | put ca.pem
fi
if [[ ! -e kafka.pem ]]; then
    known=DNS:kafka-1,DNS:kafka-2,DNS:kafka-3,DNS:localhost,IP:127.0.0.1
    for name in ${names[@]+"${names[@]}"}; do
        [[ $name =~ ^[0-9.]+$|: ]] && known+=",IP:$name" || known+=",DNS:$name"
    done
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out .broker.key 2>/dev/null
    openssl req -new -key .broker.key -subj '/CN=kafka' -out .broker.csr
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$known" > .broker.ext
    openssl x509 -req -in .broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -sha256 -days 825 -extfile .broker.ext \
        -out .broker.crt 2>/dev/null
    cat .broker.key .broker.crt ca.pem | put kafka.pem
    rm -f .broker.key .broker.csr .broker.ext .broker.crt ca.srl
fi

# ClickHouse: the accounts of deploy/clickhouse/users.sql, and the administrator who makes them; Grafana's own login.
for user in admin andon andon_write andon_read andon_grafana andon_backup; do password "clickhouse-$user"; done
password grafana-admin

# What partials are sealed with; a sender's token, of which the gateway keeps the hash alone.
password partials-secret
if [[ ! -e tokens.toml ]]; then
    printf 'andon_%s' "$(word)" | put "token-$fleet" 400
    { echo '[tokens]'; printf '%s = "%s"\n' "$(sha256sum < "token-$fleet" | cut -d' ' -f1)" "$fleet"; } | put tokens.toml
fi

# The detector's key, named for itself, and the directory of trust: its public half alone. Operators' and subscribers'
# public keys are copied into both (`andon keys new`).
mkdir -p correlate-keys trust
if [[ ! -e correlate-keys/signing.key.pem ]]; then
    openssl genpkey -algorithm ed25519 2>/dev/null | put signing.key.pem 600
    kid=$(openssl pkey -in signing.key.pem -pubout -outform DER | tail -c 32 | sha256sum | cut -c 1-16)
    openssl pkey -in signing.key.pem -pubout | put "$kid.pub.pem" 644
    install -m 644 "$kid.pub.pem" trust/
    mv "$kid.pub.pem" correlate-keys/
    mv signing.key.pem correlate-keys/
fi
chmod 755 trust
chown -R "$owner:$owner" correlate-keys
echo "all there: $dir. The token of $fleet: $dir/token-$fleet"
