# shellcheck shell=bash
# Ending everything that one run of the test bed started, from the inside out,
# and proof that nothing of it is left.

# Every program that may run.
PROGRAMS=(coredns kube-controller-manager kube-scheduler kubelet kube-proxy dockerd docker20 podman containerd
	kube-apiserver etcd gitserver sshd registry-tls registry-auth registry-open)

teardown() {
	local pid pids=()
	rm -f "$ENV_FILE"
	stop kube-controller-manager kube-scheduler
	end_pods
	end_containers
	# Connections of sshd outlive it.
	if pid=$(pid_of sshd); then
		mapfile -t pids < <(descendants "$pid")
		kill "${pids[@]}" 2>/dev/null || true
	fi
	stop kubelet kube-proxy
	stop dockerd docker20 podman
	stop containerd
	# Told to end, the API server first waits for its clients, and nothing of what
	# it knows is kept.
	if pid=$(pid_of kube-apiserver); then kill -9 "$pid"; fi
	stop "${PROGRAMS[@]}"
	kill_leftovers
	unmount_all
	network_down
	remove_outside
	rm -rf --one-file-system "$STATE"
	mkdir -p "$CACHE"
}

# The kubelet is still there to take a pod's containers, mounts and network apart.
end_pods() {
	pid_of kubelet >/dev/null && pid_of kube-apiserver >/dev/null && pid_of containerd >/dev/null || return 0
	kubectl delete pods --all --all-namespaces --grace-period=1 --wait --timeout=20s >/dev/null 2>&1 || true
}

end_containers() {
	pid_of dockerd >/dev/null && pid_of containerd >/dev/null || return 0
	local id
	# shellcheck disable=SC2034 # engine reads it
	ENGINE=unix://$DOCKER_SOCKET
	for id in $(engine '/containers/json?all=1' | grep -oE '"Id":"[0-9a-f]{64}"' | grep -oE '[0-9a-f]{64}'); do
		engine "/containers/$id?force=1&v=1" --request DELETE --output /dev/null || true
	done
	engine /networks/prune --request POST --output /dev/null || true
}

# Processes of this run: of a program of ours, or in a container of ours, which is
# known by its root (its shim may be dead), and whatever is below those.
leftover_pids() {
	{
		find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -lname "$BIN/*" || true # a process may end meanwhile
		grep --no-messages --files-with-matches " / / .*=$STATE/" /proc/[0-9]*/mountinfo
	} 2>/dev/null | while IFS=/ read -r _ _ pid _; do descendants "$pid"; done | sort -un
}

# Gone, not only killed: their mounts and control groups are busy until then.
kill_leftovers() {
	local pids round
	for ((round = 0; round < 50; round++)); do
		mapfile -t pids < <(leftover_pids)
		((${#pids[@]})) || return 0
		kill -9 "${pids[@]}" 2>/dev/null || true
		sleep 0.1
	done
}

# descendants PID: itself and all below it.
descendants() {
	local child
	printf '%s\n' "$1"
	cat "/proc/$1/task"/*/children 2>/dev/null | while read -rd ' ' child; do descendants "$child"; done || true
}

our_mounts() { awk -v below="$STATE/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r; }

unmount_all() {
	local mount
	for mount in $(our_mounts); do umount "$mount" 2>/dev/null || umount --lazy "$mount" || true; done
}

# Folders that programs make in places that nobody can tell them. Those that
# were there before are somebody's, and stay.
OUTSIDE=(/run/containerd/s /run/containerd /run/docker/plugins /run/docker /run/sshd
	/var/lib/cni/results /var/lib/cni/cache /var/lib/cni
	/var/lib/kubelet/device-plugins /var/lib/kubelet /var/log/containers)

note_outside() {
	local folder
	[[ ! -e $STATE/outside ]] || return 0
	for folder in "${OUTSIDE[@]}"; do
		[[ -e $folder ]] || printf '%s\n' "$folder"
	done >"$STATE/outside"
}

remove_outside() {
	((EUID == 0)) || return 0
	local link folder
	for link in /var/log/containers/*; do
		[[ $(readlink "$link") != "$STATE"/* ]] || rm -f "$link"
	done
	rm -f /var/lib/cni/results/testbed-* /var/lib/cni/cache/testbed-*
	if [[ -e $STATE/outside ]]; then
		while read -r folder; do
			[[ ! -d $folder ]] || find "$folder" -maxdepth 1 -type s -delete
			rmdir "$folder" 2>/dev/null || true
		done <"$STATE/outside"
	fi
	# rmdir leaves alone what still has processes in it.
	if [[ -e $STATE/kubelet ]]; then remove_cgroups kubepods; fi
	if [[ -e $STATE/docker ]]; then remove_cgroups docker; fi
}

remove_cgroups() {
	find /sys/fs/cgroup -depth -type d \( -path "*/$1/*" -o -name "$1" \) -exec rmdir {} + 2>/dev/null || true
}

# leftovers: one line for each thing that is still there.
leftovers() {
	local pid command
	for pid in $(leftover_pids); do printf 'process %s %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -c1-80)"; done
	our_mounts | sed 's/^/mount /'
	our_links | sed 's/^/link /'
	for command in iptables ip6tables; do
		if command -v "$command-save" >/dev/null; then
			"$command-save" 2>/dev/null | grep -E "$(our_rules)" | sed "s/^/$command /" || true
		fi
	done
}
