# shellcheck shell=bash
# Images made here of Debian packages, without a registry to start from. Each is
# kept as bin/images/NAME/{layer.tar.gz,config.json}; `image_archive` makes
# them what `docker load` and `ctr images import` read.

# image_layer NAME ROOT: the folder as the image's one layer.
image_layer() {
	local out=$BIN/images/$1
	mkdir -p "$out"
	# No time and no order of this machine's in it: the same files, the same digest.
	tar --create --file "$out/layer.tar" --directory "$2" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
	sha256sum "$out/layer.tar" | cut -d' ' -f1 >"$out/diff-id"
	gzip --no-name --force "$out/layer.tar"
}

# image_config NAME JSON: its "config", as in the OCI image specification.
image_config() {
	printf '{"architecture":"%s","os":"linux","config":%s,"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created_by":"testbed"}]}' \
		"$(dpkg --print-architecture)" "$2" "$(cat "$BIN/images/$1/diff-id")" >"$BIN/images/$1/config.json"
}

# image_archive NAME REFERENCE: on standard output, under that reference.
image_archive() {
	local folder
	folder=$(mktemp -d "$STATE/tmp/image.XXXXXX")
	printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar.gz"]}]' "$2" >"$folder/manifest.json"
	tar --create --directory "$folder" manifest.json --directory "$BIN/images/$1" config.json layer.tar.gz
	rm -r "$folder"
}

# unpack ROOT PACKAGE...: Debian packages without installing them.
unpack() {
	local root=$1 package
	shift
	mkdir -p "$root.debs"
	(cd "$root.debs" && apt-get download --quiet --quiet "$@")
	for package in "$root.debs"/*.deb; do dpkg-deb --extract "$package" "$root"; done
}

# The sandbox of every pod.
build_pause() {
	mkdir "$1/root"
	gcc -static -Os -s -o "$1/root/pause" "$TESTBED/pause/pause.c"
	image_layer pause "$1/root"
	image_config pause '{"Entrypoint":["/pause"]}'
}

# What both base images have: a shell with its tools, and the files libc asks for.
busybox_root() {
	local root=$1 applet
	mkdir -p "$root"/{bin,etc,proc,sys,dev,root,tmp,var/tmp,home}
	chmod 1777 "$root/tmp" "$root/var/tmp"
	cp /bin/busybox "$root/bin/busybox"
	for applet in $(/bin/busybox --list); do
		[[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
	done
	printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nonroot:x:65532:65532::/home:/bin/sh' >"$root/etc/passwd"
	printf '%s\n' 'root:x:0:' 'nonroot:x:65532:' >"$root/etc/group"
}

build_busybox() {
	busybox_root "$1/root"
	image_layer busybox "$1/root"
	image_config busybox '{"Env":["PATH=/bin:/usr/bin:/usr/local/bin"],"Cmd":["sh"]}'
}

build_python() {
	local root=$1/root stdlib=$1/root/usr/lib/python3.11 pip
	unpack "$root" python3.11-minimal libpython3.11-minimal libpython3.11-stdlib \
		libc6 libgcc-s1 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 \
		python3-pip-whl ca-certificates
	busybox_root "$root"
	ln -s python3.11 "$root/usr/bin/python3"
	ln -s python3.11 "$root/usr/bin/python"
	pip=$(echo "$root"/usr/share/python-wheels/pip-*.whl)
	# The newest that are known to work together, for this Python.
	python3 "$pip/pip" download --quiet --disable-pip-version-check --only-binary :all: --python-version 3.11 \
		--platform "manylinux2014_$(uname -m)" --platform any --dest "$root/wheels" --requirement "$TESTBED/python/requirements.txt"
	# In an image, pip rules; Debian's note to leave packages to apt is for hosts.
	rm -f "$stdlib/EXTERNALLY-MANAGED"
	mkdir -p "$root/usr/local/lib/python3.11/dist-packages" "$root/usr/local/bin"
	python3 -m zipfile --extract "$pip" "$root/usr/local/lib/python3.11/dist-packages"
	printf '#!/usr/bin/python3\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n' >"$root/usr/local/bin/pip"
	chmod 755 "$root/usr/local/bin/pip"
	ln -s pip "$root/usr/local/bin/pip3"
	rm -rf "$root"/usr/share/{doc,man,locale,lintian,python-wheels} "$root"/usr/lib/*/{gconv,audit} \
		"$stdlib"/{lib2to3,idlelib,ensurepip,pydoc_data,turtledemo}
	# A container that starts must not compile the library first. (Only root can
	# do that here; without it, starts take longer.)
	((EUID)) || chroot "$root" /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.11 /usr/local/lib/python3.11
	image_layer python "$root"
	image_config python '{"Env":["PATH=/usr/local/bin:/usr/bin:/bin","PIP_NO_INDEX=1","PIP_FIND_LINKS=/wheels","PIP_ROOT_USER_ACTION=ignore","PIP_DISABLE_PIP_VERSION_CHECK=1","PYTHONUNBUFFERED=1"],"Cmd":["python3"]}'
}
