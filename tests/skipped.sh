#!/bin/sh
# Prints the tests that could not run here, from the file that they have told it to (tests/src/skipped.rs).
#
#   skipped.sh FILE             prints them
#   skipped.sh FILE EXPECTED    prints those that EXPECTED does not name, and fails if there are any
#
# EXPECTED has a test on each line, such as `steering::the_name_of_the_test`; the rest of the line and lines that begin
# with `#` are comments. A machine that can run an expected one runs it.
set -eu

skipped=$1
expected=${2:-/dev/null}
[ -f "$skipped" ] || exit 0

# Each line of the file is `SKIPPED NAME: needs …`.
unexpected=$(awk -v expected="$expected" '
  BEGIN { while ((getline line < expected) > 0) if (line !~ /^#/ && split(line, words, " ")) known[words[1]] = 1 }
  { name = $2; sub(/:$/, "", name); if (!(name in known)) print }
' "$skipped" | sort -u)
[ -n "$unexpected" ] || exit 0

printf '%s\n' "$unexpected"
count=$(printf '%s\n' "$unexpected" | wc -l)
if [ "$expected" = /dev/null ]; then
  echo "$count test(s) could not run here: they count as passed, and say nothing about Odin"
else
  echo "$count test(s) could not run here and are not in $expected" >&2
  exit 1
fi
