#!/bin/sh
# On a node of the lab: ends the announcer's container, and looks on while its next start asks the kernel for all that an
# announcer asks for. Prints which system calls were refused, by what, how often, and how many kinds there were at all.
set -eu
old=$(pgrep -x landfall-announ)
# What starts containers is the parent of each.
shim=$(ps -o ppid= -p "$old" | tr -d ' ')
log=/run/announcer.strace
# Numbers of processes differ between the container and here; said in both, a thread can be followed.
strace -f -qq --decode-pids=pidns -o "$log" -p "$shim" &
tracer=$!
trap 'kill $tracer 2>/dev/null || true' EXIT
until grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$shim/status"; do sleep 0.05; done
kill "$old"
until new=$(pgrep -x landfall-announ) && [ "$new" != "$old" ] && curl -fsS http://127.0.0.1:7780/readyz >/dev/null 2>&1; do
  sleep 0.1
done
# It answers, attaches and beats by now; what it does once a second it has done as well.
sleep 3
kill $tracer
wait $tracer || true
awk '
  /execve\("\/usr\/local\/bin\/landfall-announcer"/ { own[$1] = 1 }
  !own[$1] { next }
  {
    match($0, /[a-z_0-9]+[( ]/)
    name = $2 == "<..." ? $3 : $2
    sub(/\(.*/, "", name)
    kinds[name] = 1
  }
  name ~ /^(v?fork|clone3?)$/ {
    for (i = 1; i < NF; i++) if ($i == "/*" && $(i + 2) == "in") own[$(i + 1)] = 1
    if ($NF ~ /^[0-9]+$/) own[$NF] = 1
  }
  # What another thread cut short stands in two lines.
  / <unfinished \.\.\.>$/ { begun[$1] = $0 }
  / = -1 (EPERM|EACCES|ENOSYS) / {
    match($0, / = -1 [A-Z]+/)
    how = substr($0, RSTART + 6, RLENGTH - 6)
    call = $2 == "<..." ? begun[$1] : $0
    if (match(call, /BPF_PROG_TYPE_[A-Z_]+/)) name = name " " substr(call, RSTART, RLENGTH)
    refused[name " " how]++
  }
  END {
    for (what in refused) print "refused " refused[what] " times: " what
    for (name in kinds) n++
    print "kinds=" n
  }' "$log"
