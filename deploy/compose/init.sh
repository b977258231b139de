#!/usr/bin/env bash
# Makes what docker-compose.yml needs and git must not hold: keys and passwords in
# secrets/, their public halves and the user to run as in .env. What is there is kept.
#
#   deploy/compose/init.sh [DIRECTORY]     default: where this script lies
#
# Needs Go, for the nk tool of the NATS module that go.mod pins.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
umask 077
mkdir -p "$out/secrets"
out=$(cd "$out" && pwd)
secrets=$out/secrets
cd "$here"

tool=$(mktemp -d)
trap 'rm -r "$tool"' EXIT
go build -o "$tool/nk" github.com/nats-io/nkeys/nk

seed() { # file, type
  [[ -s $secrets/$1 ]] || "$tool/nk" -gen "$2" >"$secrets/$1"
}
public() { "$tool/nk" -inkey "$secrets/$1" -pubout; }
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

for role in triage store executor operator gateway; do
  seed "$role.nk" user # to log in with
done
for role in triage executor operator; do
  seed "$role.sign.nk" account # to sign with
done
for user in stakeout grafana; do
  [[ -s $secrets/clickhouse-$user ]] || random >"$secrets/clickhouse-$user"
done
[[ -s $secrets/grafana-admin ]] || random >"$secrets/grafana-admin"
cat >"$secrets/clickhouse.env" <<ENV
STORE_PASSWORD=$(<"$secrets/clickhouse-stakeout")
GRAFANA_PASSWORD=$(<"$secrets/clickhouse-grafana")
ENV
cat >"$secrets/grafana.env" <<ENV
CLICKHOUSE_PASSWORD=$(<"$secrets/clickhouse-grafana")
GF_SECURITY_ADMIN_PASSWORD=$(<"$secrets/grafana-admin")
ENV

run_as=$(id -u):$(id -g)
if ((EUID == 0)); then # no container runs as root
  run_as=65532:65532
  chown -R "$run_as" "$secrets"
fi
cat >"$out/.env" <<ENV
# Written by init.sh. The secrets belong to this user, and roles refuse keys that others may read.
RUN_AS=$run_as
# Who may log in to NATS (public user keys).
NATS_TRIAGE=$(public triage.nk)
NATS_STORE=$(public store.nk)
NATS_EXECUTOR=$(public executor.nk)
NATS_OPERATOR=$(public operator.nk)
NATS_GATEWAY=$(public gateway.nk)
# Whose commands, answers and approvals are believed (public account keys).
SIGN_TRIAGE=$(public triage.sign.nk)
SIGN_EXECUTOR=$(public executor.sign.nk)
SIGN_OPERATOR=$(public operator.sign.nk)
ENV
echo "ready: docker compose -f $here/docker-compose.yml up -d --build"
