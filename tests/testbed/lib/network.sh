# shellcheck shell=bash
# The bridges, the kernel's switches and the firewall rules of the test bed, and
# their undoing. Nothing of another program's is changed or removed.

network_up() {
	((EUID == 0)) || return 0
	[[ ! -e $STATE/network ]] || return 0
	network_down # what an interrupted start has left
	bridge "$BRIDGE" "$ADDRESS/16" 02:00:0a:58:00:01
	ip link set "$BRIDGE" alias "$CACHE"
	bridge "$ENGINE_BRIDGE" "$ENGINE_ADDRESS/16" 02:00:0a:59:00:01
	# Without it, the answer of a Service goes from pod to pod behind the back of
	# the rule that would have to translate it.
	[[ -e /proc/sys/net/bridge ]] || modprobe br_netfilter
	switch net/bridge/bridge-nf-call-iptables 1
	# dockerd, when it is the one to switch this on, closes FORWARD for everybody.
	switch net/ipv4/ip_forward 1
	# NodePorts on 127.0.0.1; kube-proxy would set it, and nobody would undo it.
	switch net/ipv4/conf/all/route_localnet 1
	# Between the bed's own networks all is open. Pods reach nothing beyond them:
	# a refusal at once tells a test more than a time-out.
	iptables --wait -N GHBED
	iptables --wait -A GHBED -s 10.88.0.0/14 -d 10.88.0.0/14 -j ACCEPT
	iptables --wait -A GHBED -s "$POD_NET" -j REJECT
	iptables --wait -I FORWARD -j GHBED
	touch "$STATE/network"
}

# bridge_owner: the cache folder of the test bed whose bridge is there, if one is.
bridge_owner() { cat "/sys/class/net/$BRIDGE/ifalias" 2>/dev/null || true; }

# bridge NAME ADDRESS MAC
bridge() {
	ip link add "$1" type bridge
	# A bridge without one of its own takes the lowest of its ports', and changes with them.
	ip link set "$1" address "$3"
	printf 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6" 2>/dev/null || true
	ip address add "$2" dev "$1"
	ip link set "$1" up
}

# switch NAME VALUE: a kernel setting, its old value kept for network_down.
switch() {
	local old
	old=$(<"/proc/sys/$1")
	[[ $old != "$2" ]] || return 0
	printf '%s %s %s\n' "$1" "$old" "$2" >>"$STATE/switches"
	printf '%s' "$2" >"/proc/sys/$1"
}

network_down() {
	((EUID == 0)) || return 0
	local name old ours link command
	for link in $(our_links); do ip link delete "$link" 2>/dev/null || true; done
	for command in iptables ip6tables; do forget_rules "$command"; done
	[[ -e $STATE/switches ]] || return 0
	while read -r name old ours; do
		# Whoever changed it since has a reason.
		[[ $(<"/proc/sys/$name") != "$ours" ]] || printf '%s' "$old" >"/proc/sys/$name"
	done <"$STATE/switches"
	rm -f "$STATE/switches"
}

# Bridges, what is plugged into them, and networks that tests made in the engine.
our_links() {
	local link
	((EUID == 0)) || return 0
	for link in "$BRIDGE" "$ENGINE_BRIDGE" "$DOCKER20_BRIDGE"; do
		[[ -e /sys/class/net/$link ]] || continue
		[[ ! -d /sys/class/net/$link/brif ]] || ls "/sys/class/net/$link/brif"
		printf '%s\n' "$link"
	done
	local pool
	for pool in "$ENGINE_POOL" "$DOCKER20_POOL" "$PODMAN_POOL" "$PODMAN_NET"; do
		ip -oneline -4 address show to "$pool" 2>/dev/null | while read -r _ link _; do
			[[ ! -d /sys/class/net/$link/brif ]] || ls "/sys/class/net/$link/brif"
			printf '%s\n' "$link"
		done
	done
}

# A pattern of our rules: a chain or an address of ours is in them. dockerd's
# chains are ours when the engine was, which has to be asked while state/ is there.
our_rules() {
	local pattern="GHBED|KUBE-|CNI-|NETAVARK|10\.(88|89|90|91|94|95)\.|$BRIDGE|$ENGINE_BRIDGE"
	[[ ! -e $STATE/docker ]] || pattern+='|DOCKER'
	printf '%s' "${OUR_RULES:-$pattern}"
}

forget_rules() {
	command -v "$1" >/dev/null || return 0
	local rules
	# Only the tables that exist: asking for one by name would create it.
	rules=$("$1-save" --counters 2>/dev/null) || return 0
	grep -Eq "$(our_rules)" <<<"$rules" || return 0
	grep -Ev "$(our_rules)" <<<"$rules" | "$1-restore" --wait --counters
}
