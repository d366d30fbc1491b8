#!/usr/bin/env bash
# Verify a webhook of endpoint we_00000000000000000000000000 (Standard Webhooks) by hand:
#
#     WEBHOOK_KEYS=whsec_... bash shell.sh "$webhook_id" "$webhook_timestamp" "$webhook_signature" < body.json
#
# For a look at a single request, not for a server: while openssl runs, the key can be seen in this machine's list of processes.
set -euo pipefail

# The signing secret. Several, separated by spaces, while you rotate.
keys=${WEBHOOK_KEYS:-whsec_REPLACE_ME}
tolerance=300 # seconds that the sender's clock may differ from ours

refuse() {
    echo "refused: $1" >&2
    exit 1
}

id=${1:-} timestamp=${2:-} signatures=${3:-}
[[ -n $id && $timestamp =~ ^[0-9]{1,12}$ ]] || refuse "webhook-id or webhook-timestamp is missing or malformed"
age=$(($(date +%s) - 10#$timestamp))
((age <= tolerance && age >= -tolerance)) || refuse "the timestamp is too old or too far ahead: perhaps a replay"

body=$(mktemp)
trap 'rm -f "$body"' EXIT
cat > "$body" # the bytes as they came in

for key in $keys; do
    [[ $key =~ ^whsec_[A-Za-z0-9+/]+=*$ ]] || refuse "a key is not whsec_ and base64: was it copied whole?"
    hex=$(printf '%s' "${key#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
    [[ -n $hex ]] || refuse "a key is not whsec_ and base64: was it copied whole?"
    expected=$({ printf '%s.%s.' "$id" "$timestamp" && cat "$body"; } \
        | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$hex" -binary | openssl base64 -A)
    set -f # a signature is no pattern of file names
    for signature in $signatures; do
        # Compared by their digests: what the time tells of a digest says nothing about the signature.
        given=$(printf '%s' "${signature#v1,}" | openssl dgst -sha256 -binary | openssl base64 -A)
        wanted=$(printf '%s' "$expected" | openssl dgst -sha256 -binary | openssl base64 -A)
        if [[ $signature == v1,* && $given == "$wanted" ]]; then
            echo "verified"
            exit 0
        fi
    done
done
refuse "no signature fits"
