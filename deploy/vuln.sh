#!/usr/bin/env bash
# Looks the dependencies up in the Go vulnerability database. Where that cannot
# be reached it says so and lets the build go on: the look-up has to be done elsewhere then.
set -uo pipefail
out=$(go tool govulncheck ./... 2>&1)
status=$?
echo "$out" | tail -n 40
if [ "$status" -ne 0 ] && echo "$out" | grep -qE 'fetching vulnerabilities|no such host|connection refused|i/o timeout|dial tcp|Forbidden|403|proxyconnect|vuln.go.dev'; then
	echo "govulncheck: the vulnerability database cannot be reached from here; not checked"
	exit 0
fi
exit "$status"
