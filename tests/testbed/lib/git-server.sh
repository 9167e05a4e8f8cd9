# shellcheck shell=bash
# Git over SSH (sshd, keys only) and over HTTPS (a password), both on the bare
# repositories in state/git, which tests make themselves.

sshd_healthy() { [[ $(ssh-keyscan -T 2 -p "$GIT_SSH_PORT" -t ed25519 "$ADDRESS" 2>/dev/null) ]]; }
gitserver_healthy() {
	get --user "$TEAM:$(<"$PASSWORD_FILE")" --cacert "$PKI/ca.crt" "https://$GIT_HTTPS/healthy"
}

sshd_start() {
	mkdir -p "$GIT_ROOT" "$SSH"
	if ((EUID == 0)); then mkdir -p /run/sshd; fi # compiled into sshd
	chmod 700 "$SSH"
	[[ -e $SSH/known_hosts ]] || ssh_keys
	# Without PAM, sshd refuses a root account that has no password, as Debian's
	# installer leaves it; with PAM, it lets a key in.
	local pam=no
	[[ $(passwd --status 2>/dev/null) != 'root L'* ]] || pam=yes
	cat >"$SSH/sshd_config" <<-END
		ListenAddress $ADDRESS:$GIT_SSH_PORT
		HostKey $SSH/host
		AuthorizedKeysFile $SSH/authorized_keys
		AllowUsers $(id -un)
		PermitRootLogin forced-commands-only
		AuthenticationMethods publickey
		DisableForwarding yes
		PermitTTY no
		AcceptEnv GIT_PROTOCOL
		StrictModes no
		UsePAM $pam
		UseDNS no
		PidFile none
		MaxStartups 100
	END
	start sshd /usr/sbin/sshd -D -e -f "$SSH/sshd_config"
}

ssh_keys() {
	local name
	for name in host laptop deploy; do
		rm -f "$SSH/$name" # of an interrupted start: ssh-keygen would ask about it
		ssh-keygen -q -t ed25519 -N '' -C "$name.testbed" -f "$SSH/$name"
	done
	# A copy: this work tree may go while the server runs.
	install -m 755 "$TESTBED/git-serve" "$SSH/git-serve"
	{
		printf 'restrict,command="%s/git-serve %s write" %s\n' "$SSH" "$GIT_ROOT" "$(<"$SSH/laptop.pub")"
		printf 'restrict,command="%s/git-serve %s read" %s\n' "$SSH" "$GIT_ROOT" "$(<"$SSH/deploy.pub")"
	} >"$SSH/authorized_keys"
	printf '[%s]:%s,[git.testbed]:%s %s\n' "$ADDRESS" "$GIT_SSH_PORT" "$GIT_SSH_PORT" "$(<"$SSH/host.pub")" >"$SSH/known_hosts"
}

gitserver_start() {
	mkdir -p "$GIT_ROOT"
	start gitserver "$BIN/gitserver" -listen "$GIT_HTTPS" -root "$GIT_ROOT" -backend "$(git --exec-path)/git-http-backend" \
		-cert "$PKI/servers.crt" -key "$PKI/servers.key" -user "$TEAM" -password-file "$PASSWORD_FILE"
}
