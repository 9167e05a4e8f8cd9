# shellcheck shell=bash
# Long-lived programs: start one so that it outlives this shell, know it again
# by pid and start time, stop exactly it. One file per program: state/run/NAME.

# The clock tick at which a process began tells it from a later one with the same pid.
birth() {
	local stat
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	# The name, in parentheses, may hold anything; count from its end.
	read -ra stat <<<"${stat##*) }"
	[[ ${stat[0]} != Z ]] && printf '%s' "${stat[19]}"
}

# pid_of NAME: its pid, if it still runs.
pid_of() {
	local pid born
	{ read -r pid born <"$STATE/run/$1"; } 2>/dev/null || return 1
	[[ $(birth "$pid") == "$born" ]] && printf '%s' "$pid"
}

# start NAME COMMAND...: detached, logging to state/logs/NAME.log.
start() {
	local name=$1
	shift
	(
		# Nothing of the caller's may leak in: not the lock, not a pipe somebody
		# waits on, not a proxy or a KUBECONFIG.
		for fd in /proc/self/fd/*; do
			fd=${fd##*/}
			((fd < 3 || fd == 255)) || eval "exec $fd>&-"
		done
		exec setsid env -i "PATH=$BIN:/usr/sbin:/usr/bin:/sbin:/bin" "HOME=$STATE/home" "TMPDIR=$STATE/tmp" \
			"SSL_CERT_FILE=$PKI/bundle.crt" "$@"
	) </dev/null >>"$STATE/logs/$name.log" 2>&1 &
	printf '%s %s\n' $! "$(birth $!)" >"$STATE/run/$name"
}

# stop NAME...: TERM, ten seconds of grace, KILL.
stop() {
	local name pid
	for name; do
		if pid=$(pid_of "$name"); then kill "$pid" 2>/dev/null || true; fi
	done
	for name; do
		for ((i = 0; i < 200; i++)); do
			pid=$(pid_of "$name") || break
			((i < 199)) || kill -9 "$pid" 2>/dev/null || true
			sleep 0.05
		done
		rm -f "$STATE/run/$name"
	done
}

# launch NAME: unless it runs and is well, (re)start it. Expects functions
# NAME_start and NAME_healthy ("-" in a name is "_" there). Whether it is up
# is await's question, so that programs come up side by side.
launch() {
	local name=$1 function=${1//-/_}
	if pid_of "$name" >/dev/null; then
		# Patience: on a busy machine, slow is not unwell.
		if timed "${function}_healthy" 15; then return; fi
		stop "$name"
	fi
	BEGAN[$name]=$(now)
	"${function}_start"
}

# await NAME WORDS...: until it is well; then a line with the seconds it took.
await() {
	local name=$1 function=${1//-/_} patience=60
	shift
	[[ ${BEGAN[$name]:-} ]] || return 0
	local deadline=$((SECONDS + patience))
	until "${function}_healthy"; do
		pid_of "$name" >/dev/null || died "$name" "ended"
		((SECONDS < deadline)) || died "$name" "did not come up in $patience s"
		sleep 0.1
	done
	say "  $name: up after $(since "${BEGAN[$name]}")${*:+, $*}"
}

declare -A BEGAN=()

# timed FUNCTION SECONDS: does it hold within that time?
timed() {
	local deadline=$((SECONDS + $2))
	until "$1"; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}

died() {
	tail -n 15 "$STATE/logs/$1.log" | cut -c1-300 >&2
	fail 3 "$1 $2; the lines above end its log, $STATE/logs/$1.log."
}

# get URL [CURL OPTION...]: quiet and quick, for health checks.
get() { curl --silent --fail --max-time 2 --noproxy '*' --output /dev/null "$@"; }
