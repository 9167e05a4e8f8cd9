# shellcheck shell=bash
# Three registries of Debian's docker-registry: open; with a password; and the
# second one's data behind TLS. All allow deletes.

registry_open_start() { registry registry-open "$REGISTRY_OPEN" open; }
registry_auth_start() { registry registry-auth "$REGISTRY_AUTH" closed; }
registry_tls_start() { registry registry-tls "$REGISTRY_TLS" closed tls; }

registry_open_healthy() { get "http://$REGISTRY_OPEN/v2/"; }
registry_auth_healthy() { get --user "$TEAM:$(<"$PASSWORD_FILE")" "http://$REGISTRY_AUTH/v2/"; }
registry_tls_healthy() { get --user "$TEAM:$(<"$PASSWORD_FILE")" --cacert "$PKI/ca.crt" "https://$REGISTRY_TLS/v2/"; }

# registry NAME ADDRESS open|closed [tls]
registry() {
	local folder=$STATE/registry
	mkdir -p "$folder/$3"
	{
		cat <<-END
			version: 0.1
			log: {level: warn, accesslog: {disabled: true}}
			storage:
			  # No cache: two registries share a folder, and one would not see the other's deletes.
			  filesystem: {rootdirectory: $folder/$3}
			  delete: {enabled: true}
			http:
			  addr: $2
			  secret: $(<"$PASSWORD_FILE")
		END
		[[ ! ${4:-} ]] || printf '  tls: {certificate: %s, key: %s}\n' "$PKI/servers.crt" "$PKI/servers.key"
		[[ $3 != closed ]] || printf 'auth: {htpasswd: {realm: testbed, path: %s}}\n' "$folder/htpasswd"
	} >"$folder/$1.yaml"
	# Cost 4: each request of a push is checked, and this password guards nothing.
	[[ -s $folder/htpasswd ]] || htpasswd -inBC 4 "$TEAM" <"$PASSWORD_FILE" >"$folder/htpasswd"
	start "$1" docker-registry serve "$folder/$1.yaml"
}
