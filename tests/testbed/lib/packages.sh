# shellcheck shell=bash
# The Debian packages that the wanted parts need; only missing ones are installed.

needed_packages() {
	say git openssl curl ca-certificates util-linux
	if wanted git; then say openssh-server openssh-client; fi
	# python3 fetches the wheels of a base image.
	if wanted engine; then say busybox-static python3; fi
	if our_registry; then say docker-registry apache2-utils; fi # htpasswd
	if ((EUID == 0)); then say iproute2 iptables; fi
	# runc and pause are C, at least in part.
	if our_engine || our_cluster; then say gcc libc6-dev libseccomp-dev pkg-config; fi
	if our_cluster; then say containernetworking-plugins; fi
}

missing_packages() {
	local needed installed package
	read -rd '' -a needed < <(needed_packages) || true
	installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "${needed[@]}" 2>/dev/null || true)
	for package in "${needed[@]}"; do
		[[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || say "$package"
	done
}

install_packages() {
	local missing policy=/usr/sbin/policy-rc.d
	command -v dpkg-query >/dev/null ||
		fail 3 "this is not Debian, of whose packages the test bed is made; for the tests, $USE_YOURS"
	mapfile -t missing < <(missing_packages)
	((${#missing[@]})) || return 0
	((EUID == 0)) || fail 3 "Debian packages are missing, which root has to install: apt-get install ${missing[*]}"
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
