#!/usr/bin/env bash
# Makes a development certificate authority and certificates signed by it, with openssl and nothing else.
# A second run keeps what is still good: whatever is valid for 30 more days, belongs to the authority and covers every
# name asked for. For machines you control; everyone else's browsers trust a public authority only.
set -euo pipefail
umask 077

authority_days=3650
leaf_days=825          # the most that Apple's verifiers accept, of any authority
renew_before_s=2592000 # 30 days

usage() {
    cat <<'USAGE'
usage: certs/make.sh [--out DIR] [--client NAME]... [NAME_OR_IP]...

  NAME_OR_IP     a name or address of the server, beside localhost, 127.0.0.1 and ::1, which it always has
  --client NAME  also a client certificate for the worker NAME (mutual TLS)
  --out DIR      where the files go (default: this script's directory)

Writes ca.pem ca.key server.pem server.key, and client-NAME.pem client-NAME.key.
USAGE
}

fail() {
    echo "certs/make.sh: $2" >&2
    exit "$1"
}

out=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
names=(localhost 127.0.0.1 ::1)
clients=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --out) (($# > 1)) || fail 2 "--out needs a directory"; out=$2; shift 2 ;;
        --client) (($# > 1)) || fail 2 "--client needs a name"; clients+=("$2"); shift 2 ;;
        -*) fail 2 "unknown option $1 (--help shows the others)" ;;
        *) names+=("$1"); shift ;;
    esac
done

# What a name may be is checked before it becomes a line of openssl's configuration or a part of a file name.
is_address() { [[ $1 == *:* || $1 =~ ^[0-9.]+$ ]]; }
for name in "${names[@]}"; do
    [[ $name =~ ^[A-Za-z0-9:.*-]{1,253}$ ]] || fail 2 "'$name' is neither a host name nor an address"
done
for client in ${clients[@]+"${clients[@]}"}; do # an empty list is an error to bash 3 (macOS)
    [[ $client =~ ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ ]] ||
        fail 2 "'$client' is no worker name: letters, digits, '.', '_' and '-', at most 64"
done
command -v openssl >/dev/null || fail 1 "openssl is not installed (on Debian: apt-get install openssl)"
mkdir -p "$out"
# A new authority would cut off everyone who trusts the old one: never make it because a file was moved away.
[[ ! -e $out/ca.pem || -e $out/ca.key ]] || fail 1 "$out/ca.pem is there without ca.key: put the key back, or remove ca.pem"

work=$(mktemp -d "$out/.make.XXXXXX") # in the same file system, so that the moves below are atomic
trap 'rm -rf "$work"' EXIT

new_key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null; }

# The certificate last: a run that is cut short leaves a key without a certificate, and the next run makes both anew.
install_pair() { # from the work directory to $out, under the name $1
    rm -f "$out/$1.pem"
    mv "$work/new.key" "$out/$1.key"
    chmod 644 "$work/new.pem"
    mv "$work/new.pem" "$out/$1.pem"
    echo "made $out/$1.pem"
}

fits_key() { # certificate and key of $1 belong together
    [[ $(openssl x509 -in "$out/$1.pem" -noout -pubkey 2>/dev/null) == "$(openssl pkey -in "$out/$1.key" -pubout 2>/dev/null)" ]]
}

is_good() { # $1 is there, whole, not about to expire and signed by this authority
    [[ -s $out/$1.pem && -s $out/$1.key ]] && fits_key "$1" &&
        openssl x509 -in "$out/$1.pem" -noout -checkend "$renew_before_s" >/dev/null &&
        openssl verify -x509_strict -CAfile "$out/ca.pem" "$out/$1.pem" >/dev/null 2>&1
}

covers_names() { # server.pem is for every name asked for
    local name check
    for name in "${names[@]}"; do
        is_address "$name" && check=-checkip || check=-checkhost
        openssl x509 -in "$out/server.pem" -noout "$check" "$name" | grep -q 'does match' || return 1
    done
}

make_authority() {
    cat >"$work/ca.cnf" <<CONFIG
[req]
prompt = no
distinguished_name = subject
x509_extensions = extensions
[subject]
CN = Edge gateway development CA $(openssl rand -hex 4)
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
CONFIG
    new_key "$work/new.key"
    openssl req -new -x509 -sha256 -days "$authority_days" -config "$work/ca.cnf" -key "$work/new.key" -out "$work/new.pem"
    install_pair ca
}

make_leaf() { # file name $1, common name $2, use $3, alternative names $4
    cat >"$work/leaf.cnf" <<CONFIG
[req]
prompt = no
distinguished_name = subject
[subject]
CN = $2
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = $3
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = $4
CONFIG
    new_key "$work/new.key"
    openssl req -new -sha256 -config "$work/leaf.cnf" -key "$work/new.key" -out "$work/leaf.csr"
    openssl x509 -req -sha256 -days "$leaf_days" -in "$work/leaf.csr" -CA "$out/ca.pem" -CAkey "$out/ca.key" \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$work/leaf.cnf" -extensions extensions \
        -out "$work/new.pem" 2>/dev/null
    install_pair "$1"
}

alternative_names() {
    local name list=()
    for name in "${names[@]}"; do
        is_address "$name" && list+=("IP:$name") || list+=("DNS:$name")
    done
    (IFS=,; echo "${list[*]}")
}

if is_good ca; then
    echo "kept $out/ca.pem"
else
    make_authority
fi
if is_good server && covers_names; then
    echo "kept $out/server.pem"
else
    make_leaf server "${names[${#names[@]} > 3 ? 3 : 0]:0:64}" serverAuth "$(alternative_names)"
fi
for client in ${clients[@]+"${clients[@]}"}; do
    if is_good "client-$client"; then
        echo "kept $out/client-$client.pem"
    else
        make_leaf "client-$client" "$client" clientAuth "DNS:$client"
    fi
done
