#!/usr/bin/env bash
# Drives a running hub through its public API: health, documents, registry CRUD, notify, logs. Prints "PASS <step>" or
# "FAIL <step>" for each step; exit code 1 if one failed. Needs bash, curl and python3 only.
#
#   BASE_URL=http://127.0.0.1:8000 API_KEY=hub_... tests/api_integration_smoke.sh
#
# API_KEY is an admin key of a tenant (`manage.py seed_demo --json` prints one). What it creates it removes again.
set -uo pipefail

BASE_URL="${BASE_URL:-http://127.0.0.1:8000}"
BASE_URL="${BASE_URL%/}"
if [ -z "${API_KEY:-}" ]; then
    echo "API_KEY is not set: an admin key of a tenant is needed" >&2
    exit 2
fi

failed=0
status=""
body=""
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

pass() { echo "PASS $1"; }
fail() {
    failed=1
    echo "FAIL $1"
    echo "     status ${status}, body: $(printf '%s' "$body" | head -c 600)" >&2
}

# call METHOD PATH [JSON]: fills $status and $body. KEY= sends another key, KEY="" none at all.
call() {
    local method="$1" path="$2" key="${KEY-$API_KEY}"
    local arguments=(--silent --show-error --noproxy '*' --max-time 30 --output "$work/body" --write-out '%{http_code}'
        --request "$method" --header 'Accept: application/json')
    [ -n "$key" ] && arguments+=(--header "Authorization: Bearer $key")
    [ -n "${IDEMPOTENCY:-}" ] && arguments+=(--header "Idempotency-Key: $IDEMPOTENCY")
    [ $# -ge 3 ] && arguments+=(--header 'Content-Type: application/json' --data "$3")
    : >"$work/body"
    status="$(curl "${arguments[@]}" "$BASE_URL$path" 2>"$work/error")" || status="000 $(cat "$work/error")"
    body="$(cat "$work/body")"
}

# holds EXPRESSION: true if the Python expression is, with the decoded body as `it` and the environment as `env`.
holds() {
    printf '%s' "$body" | python3 -c '
import json, os, sys
env = os.environ
try:
    it = json.load(sys.stdin)
    sys.exit(0 if eval(sys.argv[1]) else 1)
except Exception as error:
    print(f"     {type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(1)
' "$1"
}

field() { printf '%s' "$body" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" 2>/dev/null; }

# expect STEP STATUS [EXPRESSION]
expect() {
    if [ "$status" = "$2" ] && { [ $# -lt 3 ] || holds "$3"; }; then pass "$1"; else fail "$1"; fi
}

secret="smoke-secret-$$-$(date +%s)-0123456789"
export SECRET="$secret"

call GET /healthz/live
expect "liveness" 200 'it["status"] == "ok"'

call GET /healthz/ready
expect "readiness" 200 'it["status"] == "ok"'

KEY="" call GET /api/health
expect "health without a key" 200 'it["status"] in ("ok", "degraded") and it["database"] == "ok" and it["version"] and it["integrations_registered"] >= 0 and set(it["queue"]) >= {"pending", "failed"}'
before="$(field integrations_registered)"
export BEFORE="${before:-0}"

KEY="" call GET /api/v1/health
expect "health on the versioned path" 200 'it["database"] == "ok"'

KEY="" call GET "/api/schema?format=json"
expect "OpenAPI schema" 200 'it["openapi"].startswith("3.1") and "/api/v1/integrations" in it["paths"]'

KEY="" call GET /api/integrations
expect "registry without a key is 401" 401 'it["errors"][0]["code"] == "not_authenticated"'

KEY="hub_0000000000000000000000000000000000000000" call GET /api/integrations
expect "registry with a wrong key is 401" 401

call GET /api/v1/integrations/providers
expect "providers" 200 '{"mpesa", "africastalking"} <= {each["slug"] for each in it["results"]}'

call POST /api/integrations '{"provider": "nobody", "type": "sms", "api_key": "x"}'
expect "registry refuses an unknown provider" 400 'it["errors"][0]["attr"] == "provider"'

call POST /api/integrations '{"provider": "africastalking", "type": "notification", "status": "active", "api_key": "x"}'
expect "registry names the fields that are missing" 400 'it["errors"][0]["attr"] == "settings.username"'

new="{\"provider\": \"africastalking\", \"type\": \"notification\", \"status\": \"inactive\", \"api_key\": \"$secret\", \"settings\": {\"username\": \"smoke\"}}"
IDEMPOTENCY="smoke-$$-$(date +%s%N)"
call POST /api/integrations "$new"
expect "registry create" 201 'it["provider"] == "africastalking" and it["type"] == "notification" and it["status"] == "inactive" and it["api_key_set"] is True and env["SECRET"] not in json.dumps(it)'
id="$(field id)"
export ID="${id:-0}"

call POST /api/integrations "$new"
expect "registry create again with the same Idempotency-Key" 201 'it["id"] == int(env["ID"])'
IDEMPOTENCY=""

call GET "/api/integrations/$ID"
expect "registry read" 200 'it["id"] == int(env["ID"]) and it["settings"]["username"] == "smoke" and env["SECRET"] not in json.dumps(it)'

call GET "/api/integrations?page_size=200"
expect "registry list" 200 'int(env["ID"]) in [each["id"] for each in it["results"]] and env["SECRET"] not in json.dumps(it)'

KEY="" call GET /api/health
expect "health counts it" 200 'it["integrations_registered"] == int(env["BEFORE"]) + 1'

call PATCH "/api/integrations/$ID" '{"settings": {"batch_size": 7}}'
expect "registry change in part" 200 'it["settings"]["batch_size"] == 7 and it["settings"]["username"] == "smoke"'

call PUT "/api/integrations/$ID" '{"provider": "africastalking", "type": "sms", "status": "inactive", "settings": {"username": "smoke-2"}}'
expect "registry replace, the key kept" 200 'it["type"] == "sms" and it["settings"]["username"] == "smoke-2" and it["api_key_set"] is True'

call PATCH "/api/integrations/$ID" '{"colour": "red"}'
expect "registry refuses an unknown member" 400 'it["errors"][0]["attr"] == "colour"'

call DELETE "/api/integrations/$ID"
expect "registry delete" 204

call GET "/api/integrations/$ID"
expect "registry read after delete is 404" 404

for case in 'email jane@example.org' 'sms 0712345678' 'webhook https://example.org/hook' 'push device-token-1' 'whatsapp +254712345678'; do
    channel="${case%% *}"
    export CHANNEL="$channel"
    call POST /api/hooks/notify "{\"channel\": \"$channel\", \"to\": \"${case#* }\", \"subject\": \"Smoke\", \"message\": \"Smoke test over $channel\"}"
    expect "notify by $channel is simulated" 200 'it["status"] == "simulated" and it["channel"] == env["CHANNEL"] and it["id"] > 0'
done
export LOG="$(field log_id)"

call POST /api/hooks/notify '{"channel": "pigeon", "to": "x", "message": "x"}'
expect "notify refuses an unknown channel" 400 'it["errors"][0]["attr"] == "channel"'

call POST /api/hooks/notify '{"channel": "push", "to": "x", "message": "x", "simulate": false}'
expect "notify says what it can't send" 422 'it["errors"][0]["code"] == "unsupported_operation"'

call GET "/api/v1/integrations/logs/${LOG:-0}"
expect "log of the last notification" 200 'it["operation"] == "notify.simulated" and it["direction"] == "outbound" and it["status"] == "success" and "Smoke test over whatsapp" in it["request_body"]'

call GET "/api/v1/integrations/logs?operation=notify.simulated&page_size=5"
expect "log list by operation" 200 'len(it["results"]) == 5 and {each["operation"] for each in it["results"]} == {"notify.simulated"}'

call GET "/api/v1/integrations/logs?status=nonsense"
expect "log list refuses a bad filter" 400 'it["errors"][0]["attr"] == "status"'

call GET /api/v1/integrations/queue
expect "queue list" 200 'isinstance(it["results"], list)'

call GET /api/nothing-here
expect "an unknown route is 404 in the API's shape" 404 'it["type"] == "client_error"'

exit "$failed"
