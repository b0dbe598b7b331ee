#!/usr/bin/env bash
# Changes the campaigns of a deployment on loopback while events arrive: shadow, apply
# --backfill, pause, apply and rollback, with a worker killed (kill -9) in the middle of
# each. At the end it verifies all offers, compares features with those of a backtest of
# the log, and prints a table. It needs Go and bash, takes about five minutes, and exits
# with 1 if anything is wrong.
#
#   bash deploy/change.sh
#   USERS=1000000 bash deploy/change.sh   # only the backfill, of so many users, without kills
#
# RATE is the number of events a second, OUT a directory that stays (default a temporary
# one, which is removed unless something is wrong).
set -uo pipefail
cd "$(dirname "$0")/.."

RATE=${RATE:-300}
PARTITIONS=4
WORKERS=2
KEY=change
if [ -n "${USERS:-}" ]; then big=1 each=2; else big='' USERS=40000 each=3; fi
active=$((USERS < 10000 ? USERS : 10000)) # the load comes from these; all others are dormant
echoed=40                                 # users whose features are compared

dir=${OUT:-$(mktemp -d "${TMPDIR:-/tmp}/offerstream-change-XXXXXX")}
mkdir -p "$dir/log" "$dir/bin"
declare -A pid
wrong=()
rows=()

now() { echo "$((${EPOCHREALTIME/[.,]/} / 1000))"; } # ms since 1970
say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
bad() { wrong+=("$*"); say "WRONG: $*"; }
seconds() { printf '%d.%01d s' "$(($1 / 1000))" "$(($1 % 1000 / 100))"; }

end() {
	local p
	for p in "${pid[@]}"; do kill -9 "$p" 2>/dev/null; done
	wait 2>/dev/null
	[ -n "${OUT:-}" ] || [ ${#wrong[@]} -gt 0 ] || rm -rf "$dir"
}
trap end EXIT
trap 'bad interrupted; exit 1' INT TERM

give_up() {
	bad "$*"
	echo "the logs are in $dir/log"
	exit 1
}

# until_within SECONDS WHAT COMMAND...: waits until a command succeeds.
until_within() {
	local end=$(($(now) + $1 * 1000)) what=$2
	shift 2
	until "$@"; do
		[ "$(now)" -lt $end ] || { bad "awaited in vain: $what"; return 1; }
		sleep .05
	done
}

free_port() {
	local p
	while p=$((20000 + RANDOM % 12000)); do
		(: <>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
	done
}

get() { # get PORT PATH: the body of an HTTP answer
	exec 9<>"/dev/tcp/127.0.0.1/$1" || return 1
	printf 'GET %s HTTP/1.0\r\n\r\n' "$2" >&9
	cat <&9
	exec 9>&-
} 2>/dev/null

ready() { [[ $(get "$1" /readyz | head -1) == *" 200 "* ]]; }
metric() { get "$1" /metrics | awk -v m="$2" '$1 == m {print $2}'; }

ctl() { "$dir/bin/offerctl" "$@" --nats "$nats"; }

# background NAME ARGS...: a command of offerctl, whose output is in log/NAME.
background() {
	local name=$1
	shift
	"$dir/bin/offerctl" "$@" --nats "$nats" >"$dir/log/$name" 2>&1 &
	pid[$name]=$!
}

finished() { # finished NAME: waits until it has ended, which must be well
	wait "${pid[$1]}" || bad "$1: $(tail -3 "$dir/log/$1")"
	unset "pid[$1]"
}

# must NAME COMMAND...: its output goes to the log and to $said.
must() {
	local name=$1
	shift
	said=$("$@" 2>&1)
	local code=$?
	printf '$ %s\n%s\n' "$*" "$said" >>"$dir/log/commands"
	[ $code = 0 ] || bad "$name: exit $code: $(tail -3 <<<"$said")"
	return $code
}

start_worker() {
	"$dir/bin/worker" --nats "$nats" --dir "$dir/worker-$1" --partitions $PARTITIONS --metrics-addr "127.0.0.1:${metrics[$1]}" >>"$dir/log/worker-$1" 2>&1 &
	pid[worker-$1]=$!
}

kill_worker() {
	kill -9 "${pid[worker-$1]}"
	wait "${pid[worker-$1]}" 2>/dev/null
	say "kill -9 worker $1"
}

owns() { [ "$(metric "${metrics[$1]}" 'offerstream_worker_partitions{role="own"}')" != 0 ]; }

# kill_owner kills a worker that owns partitions: if possible another one than before.
victim=0
kill_owner() {
	local n
	for n in $(seq $WORKERS); do
		victim=$((victim % WORKERS + 1))
		owns $victim && break
	done
	kill_worker $victim
}

# joining: the victim is a worker that makes the two states of a partition one.
joining() {
	local n
	for n in $(seq $WORKERS); do
		if [ "$(grep -c 'the two states become one' "$dir/log/worker-$n")" -gt "$(grep -c 'has gone live by a backfill' "$dir/log/worker-$n")" ]; then
			victim=$n
			return
		fi
	done
	return 1
}

restart() { # restart [SECONDS]: the victim, when the others have taken over or before
	sleep "${1:-0}"
	start_worker $victim
	until_within 60 "worker $victim is ready again" ready "${metrics[$victim]}"
}

applied() { # applied N: the owners have applied N events
	local n sum=0
	for n in $(seq $WORKERS); do
		sum=$((sum + $(get "${metrics[$n]}" /metrics | awk '/^offerstream_worker_events_applied_total/ {s += $2} END {printf "%d", s + 0}')))
	done
	[ "$sum" -ge "$1" ]
}

begin() { step=$1 began=$(now); say "== $1"; }
done_in() { # the step's row: its name, its time, what is to know
	local took=$(($(now) - began))
	rows+=("$step|$began|$(now)|${1:-}")
	say "   $(seconds $took)  ${1:-}"
}

backfill_line() { ctl status 2>/dev/null | grep '^backfill of set'; }
caught_up() { backfill_line | grep -q "$PARTITIONS of $PARTITIONS partitions have caught up"; }
half_way() { backfill_line | grep -Eq ': [1-9][0-9]?%, 0 of '; }
in_force() { # in_force HASH: in all partitions
	ctl status --json 2>/dev/null | grep -Eo '"set":"[0-9a-f]+"' | awk -F'"' -v h="$1" '$4 == h {n++; next} {o++} END {exit !(n >= '$PARTITIONS' && !o)}'
}

# ---------------------------------------------------------------------------------
# Sets: a is live first, b adds features and absences, c changes b without a backfill.

common='version: 1
zone: UTC
campaigns:
  order-thanks:                        # the load measures how long its offers take
    on: Order Completed
    offer: {channel: web, kind: service, expires: 1h, data: {sent: "{{ event.properties.sent }}"}}
  fan:
    on: Product Viewed
    if: category_views[event.properties.category] >= 3
    offer: {channel: web, expires: 15m, data: {title: "10% off {{ event.properties.category }}"}}
    limits: [{max: 1, within: 24h}]
'
later='  basket:
    on: Product Added
    unless: {on: Order Completed, within: 10s}
    if: viewed_value > 0
    offer: {channel: web, expires: 24h, data: {title: "Your basket is waiting"}}
    limits: [{max: 1, within: 24h}]
'
dormant='  dormant:                             # reaches who sends no event any more
    on: "*"
    unless: {on: "*", within: 20s}
    if: seen >= 1
    offer: {channel: web, expires: 24h, data: {title: "We miss you"}}
    limits: [{max: 1, within: 24h}]
'
echo_of() {
	printf '  echo:                                # its offers say what the features are\n    on: Echo\n    offer:\n      channel: web\n      kind: service\n      expires: 1h\n      data: {%s}\n' "$1"
}
sets() {
	mkdir -p "$dir/a" "$dir/b" "$dir/c"
	local views='  category_views: {on: Product Viewed, by: category, agg: count, within: 30m}
  orders: {on: Order Completed, agg: count, within: 24h}
'
	local new='  seen: {on: "*", agg: count, within: 24h}
  brands: {on: Product Viewed, by: category, agg: distinct, of: item.brand, within: 1h}
'
	local says='views: "{{ category_views }}", orders: "{{ orders }}", seen: "{{ seen }}", brands: "{{ brands }}", value: "{{ viewed_value }}"'
	local value='  viewed_value: {on: Product Viewed, agg: sum, of: event.properties.price, within: '
	{ printf '%sfeatures:\n%s' "$common" "$views"; } >"$dir/a/a.yaml"
	{ printf '%s%s%s' "$common" "$later" "$dormant"; echo_of "$says"; printf 'features:\n%s%s%s1h}\n' "$views" "$new" "$value"; } >"$dir/b/b.yaml"
	{ printf '%s%s' "$common" "$later"; echo_of 'orders: "{{ orders }}"'; printf 'features:\n%s%s2h}\n' "$views" "$value"; } >"$dir/c/c.yaml"
}

# ---------------------------------------------------------------------------------

say "building"
go build -o "$dir/bin/" ./cmd/offerctl ./cmd/worker ./cmd/gateway ./deploy/load github.com/nats-io/nats-server/v2 || give_up "go build"
mv "$dir/bin/v2" "$dir/bin/nats-server" 2>/dev/null
sets
declare -A hash
for s in a b c; do
	must "check $s" "$dir/bin/offerctl" check "$dir/$s" || give_up "set $s"
	hash[$s]=${said##* }
done

port=$(free_port)
nats=nats://127.0.0.1:$port
cat >"$dir/nats.conf" <<CONF
listen: 127.0.0.1:$port
max_payload: 1MB
jetstream { store_dir: "$dir/nats", sync_interval: always }
CONF
"$dir/bin/nats-server" -c "$dir/nats.conf" >"$dir/log/nats" 2>&1 &
pid[nats]=$!
until_within 30 "NATS listens" eval '(: <>/dev/tcp/127.0.0.1/$port) 2>/dev/null' || give_up "no NATS"
declare -A metrics
for n in $(seq $WORKERS); do
	metrics[$n]=$(free_port)
	start_worker "$n"
done
gateway=$(free_port)
metrics[gateway]=$(free_port)
OFFERSTREAM_SERVER_KEY=$KEY "$dir/bin/gateway" --nats "$nats" --partitions $PARTITIONS --addr "127.0.0.1:$gateway" --metrics-addr "127.0.0.1:${metrics[gateway]}" >"$dir/log/gateway" 2>&1 &
pid[gateway]=$!
say "NATS, a gateway, $WORKERS workers, $PARTITIONS partitions, in $dir"
members() { [ "$(metric "${metrics[1]}" offerstream_worker_members)" = $WORKERS ] && ctl status >"$dir/log/status" 2>&1; }
until_within 60 "all workers" members || give_up "no workers"
must "first apply" ctl apply "$dir/a" --yes || give_up "no set"
until_within 60 "the gateway is ready" ready "${metrics[gateway]}" || give_up "no gateway"

# The disk at its highest, of the workers and of NATS, in KB.
while sleep 1; do
	echo "$(now) $(du -sck "$dir"/worker-* 2>/dev/null | tail -1 | cut -f1) $(du -sk "$dir/nats" 2>/dev/null | cut -f1)"
done >"$dir/disk" &
pid[disk]=$!

load() { exec "$dir/bin/load" --to "http://127.0.0.1:$gateway" --key $KEY --nats "$nats" "$@"; }

begin "the past of $USERS users"
must fill load --fill $each --users "$USERS" || give_up "no past"
until_within 600 "the past is folded" applied $((USERS * each)) || give_up "the past is not folded"
done_in "$((USERS * each)) events"
load --rate "$RATE" --users "$active" --out "$dir/latency" >"$dir/log/load" 2>&1 &
pid[load]=$!

begin "before any change"
sleep 15
done_in "$RATE events/s"

if [ -z "$big" ]; then
	begin "shadow of b"
	background shadow shadow "$dir/b" --for 8s --report "$dir/shadow.html"
	until_within 60 "the shadow follows the log" grep -q 'caught up' "$dir/log/shadow"
	kill_owner
	restart 4
	finished shadow
	done_in "$(awk '/^all campaigns/ {print "gained " $(NF - 1) ", lost " $NF}' "$dir/log/shadow")"
fi

begin "backfill of b"
rate=.5
[ -n "$big" ] || rate=.01 # so slow that a kill falls into it
must "apply --backfill" ctl apply "$dir/b" --backfill --detach --rate $rate --yes || give_up "no backfill"
if [ -z "$big" ]; then
	if until_within 60 "a backfill under way" half_way; then
		how=$(backfill_line)
		kill_owner
		restart 4
		say "   killed at: ${how#*: }"
	fi
fi
until_within 1800 "all partitions have caught up" caught_up || give_up "the backfill does not end"
done_in "all caught up"

begin "switch to b"
background go apply --go --overdue 1h --yes
if [ -z "$big" ]; then
	until_within 60 "the go" grep -q 'is live, by backfill' "$dir/log/go"
	kill_owner
	restart
	until_within 60 "a partition at its switch" joining && kill_worker $victim
	restart
fi
finished go
until_within 60 "b in force in all partitions" in_force "${hash[b]}"
interrupted=''
n=$(($(cat "$dir"/log/worker-* | grep -c 'the two states become one') - $(cat "$dir"/log/worker-* | grep -c 'has gone live by a backfill')))
[ "$n" = 0 ] || interrupted="; $n were killed at it"
paused=0
for n in $(seq $WORKERS); do
	paused=$(get "${metrics[$n]}" /metrics | awk -v p="$paused" '/^offerstream_worker_switch_seconds_sum/ {s = $2} /^offerstream_worker_switch_seconds_count/ {c = $2} END {m = c ? s / c : 0; print (m > p ? m : p)}')
done
done_in "$(grep -Eo '(dormant|basket) web: [0-9]+' "$dir/log/go" | tr '\n' ' ')overdue; a partition stood $(printf %.2f "$paused") s$interrupted"

if [ -z "$big" ]; then
	begin "pause"
	must pause ctl campaigns pause dormant --why change.sh
	took=$(grep -o 'after [0-9.]* s' <<<"$said" | tr -dc 0-9.)
	awk -v t="${took:-9}" 'BEGIN {exit !(t <= 1)}' || bad "the pause took ${took:-?} s, more than one second"
	done_in "in all partitions after ${took:-?} s"

	begin "pause, resume, with kills"
	background pause campaigns pause fan basket --why change.sh
	kill_owner
	restart 1
	finished pause
	background resume campaigns resume fan basket dormant
	kill_owner
	restart 1
	finished resume
	done_in "$(grep -ho 'in all.*' "$dir/log/pause" "$dir/log/resume" | sed 's/in all [0-9]* partitions //' | paste -sd, -)"

	begin "apply c"
	must "apply c" ctl apply "$dir/c" --yes --force
	until_within 60 "c in force in all partitions" in_force "${hash[c]}"
	done_in "$(grep -o 'in force.*' <<<"$said" | tail -1)"
	sleep 5

	begin "rollback to b, with a kill"
	background rollback campaigns rollback --yes
	until_within 20 "the rollback" grep -q . "$dir/log/rollback"
	kill_owner
	restart 4
	finished rollback
	until_within 60 "b in force in all partitions again" in_force "${hash[b]}"
	done_in "$(tail -1 "$dir/log/rollback")"
fi

begin "after all changes"
sleep 15
done_in "$RATE events/s"

begin "the load ends"
kill -TERM "${pid[load]}"
finished load
done_in "$(tail -1 "$dir/log/load")"

if [ -z "$big" ]; then
	begin "features as a backtest has them"
	must echo load --echo $echoed --users "$USERS" --out "$dir/echo.live"
	must backtest ctl backtest --campaigns "$dir/b" --out "$dir/offers.jsonl" &&
		must echoes "$dir/bin/load" --echoes "$dir/offers.jsonl" --out "$dir/echo.backtest"
	if [ "$(wc -l <"$dir/echo.live")" = $echoed ] && diff "$dir/echo.live" "$dir/echo.backtest" >"$dir/log/features"; then
		done_in "equal, of $echoed users"
	else
		bad "features differ from those of a backtest of the log: $dir/log/features"
		done_in "DIFFER"
	fi
fi

begin "verify"
must status ctl status
must verify ctl verify
echo "$said" | tail -12
done_in "$(grep -Ei 'missing|wrong|differ|agree' <<<"$said" | tail -1)"
for n in $(seq $WORKERS); do
	grep -E 'PARTITION STOPPED|panic' "$dir/log/worker-$n" && bad "worker $n: see $dir/log/worker-$n"
done

# latency FROM TO: median, p99 and highest of what was sent in between, in ms.
latency() {
	awk -v from="$1" -v to="$2" '$1 >= from && $1 < to {print $2}' "$dir/latency" | sort -n |
		awk '{a[NR] = $1} END {if (!NR) {print "-", "-", "-"; exit} printf "%d %d %d\n", a[int((NR + 1) / 2)], a[int(NR * .99 + .999)], a[NR]}'
}
printf '\n%-32s %9s   %6s %7s %7s   %s\n' step took p50 p99 max ''
printf '%-32s %9s   %22s\n' '' '' 'event to offer, ms'
for row in "${rows[@]}"; do
	IFS='|' read -r name from to text <<<"$row"
	read -r p50 p99 most <<<"$(latency "$from" "$to")"
	printf '%-32s %9s   %6s %7s %7s   %s\n' "$name" "$(seconds $((to - from)))" "$p50" "$p99" "$most" "$text"
done
awk '{w = $2 > w ? $2 : w; n = $3 > n ? $3 : n} END {printf "disk at its highest: workers %.0f MB, NATS %.0f MB\n", w / 1024, n / 1024}' "$dir/disk"
if [ ${#wrong[@]} -gt 0 ]; then
	printf 'WRONG: %s\n' "${wrong[@]}"
	echo "the logs are in $dir/log"
	exit 1
fi
echo "nothing is wrong"
