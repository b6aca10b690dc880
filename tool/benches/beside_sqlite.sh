#!/usr/bin/env bash
# Times a load and a dump of a million JSON lines, and the .import and .dump of sqlite3 with the
# same entries as CSV, in one run; prints the seconds and their ratios. It builds the tool.
#
#     tool/benches/beside_sqlite.sh [ENTRIES]
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --quiet --release -p minidb-tool
tool=${CARGO_TARGET_DIR:-$PWD/target}/release/minidb
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
# Keys in random order, values of 6 to 75 bytes.
awk -v n="${1:-1000000}" 'BEGIN {
  srand(1)
  x = sprintf("%60s", ""); gsub(" ", "x", x)
  for (i = 0; i < n; i++) {
    k = sprintf("key-%08x%08x", rand() * 4294967296, i)
    v = "value " i substr(x, 1, i % 60)
    print "{\"k\":\"" k "\",\"v\":\"" v "\"}" >"in.jsonl"
    print k "," v >"in.csv"
  }
}'

# Prints the seconds that a command takes.
seconds() {
  local begun ended
  begun=$(date +%s.%N)
  "$@" >/dev/null
  ended=$(date +%s.%N)
  awk "BEGIN { printf \"%.2f\", $ended - $begun }"
}
load() { "$tool" load a.db <in.jsonl; }
dump() { "$tool" dump a.db >out.jsonl; }
import() {
  sqlite3 -cmd "create table t(k text primary key, v text) without rowid" -cmd ".mode csv" \
    s.db ".import in.csv t"
}
sqlite_dump() { sqlite3 s.db .dump >s.sql; }

for round in 1 2 3; do
  rm -f a.db s.db
  a=$(seconds load) b=$(seconds import) c=$(seconds dump) d=$(seconds sqlite_dump)
  awk -v r=$round -v a="$a" -v b="$b" -v c="$c" -v d="$d" 'BEGIN {
    printf "round %d: load %s s, sqlite3 .import %s s, ratio %.2f; ", r, a, b, a / b
    printf "dump %s s, sqlite3 .dump %s s, ratio %.2f\n", c, d, c / d
  }'
done
[ "$("$tool" count a.db)" = "$(sqlite3 s.db "select count(*) from t")" ]
