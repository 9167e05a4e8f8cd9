# shellcheck shell=bash
# The Debian packages the test bed needs; only missing ones are installed.

PACKAGES=(
	gcc libc6-dev libseccomp-dev pkg-config # runc and pause are C, at least in part
	iproute2 iptables containernetworking-plugins
	docker-registry apache2-utils # htpasswd
	git openssh-server openssh-client
	busybox-static python3 # base images; python3 fetches their wheels
	openssl curl ca-certificates util-linux
)

missing_packages() {
	local installed package
	installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null || true)
	for package in "${PACKAGES[@]}"; do
		[[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || printf '%s\n' "$package"
	done
}

install_packages() {
	local missing policy=/usr/sbin/policy-rc.d
	command -v dpkg-query >/dev/null ||
		fail 3 "this is not Debian, whose packages the test bed is made of; $USE_YOURS"
	mapfile -t missing < <(missing_packages)
	((${#missing[@]})) || return 0
	say "installing Debian packages: ${missing[*]}"
	# Debian starts a service the moment it is installed; sshd and the registry
	# would listen on every interface. 101 in this file's place forbids that.
	local ours=
	if [[ ! -e $policy ]]; then
		ours=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	local status=0
	apt_install "${missing[@]}" || { apt-get update --quiet && apt_install "${missing[@]}"; } || status=$?
	if [[ $ours ]]; then rm -f "$policy"; fi
	((status == 0)) || fail 3 "apt-get could not install ${missing[*]}; its words are above."
	# Nor may they start at the next boot.
	local package
	for package in "${missing[@]}"; do
		case $package in
			docker-registry) systemctl disable docker-registry 2>/dev/null || true ;;
			openssh-server) systemctl disable ssh 2>/dev/null || true ;;
		esac
	done
}

apt_install() {
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends "$@" 9>&-
}
