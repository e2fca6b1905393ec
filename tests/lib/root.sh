# root.sh - minimal roots of Debian, and the way into copies of them: of tests/bare and tests/packages.
#
# In the folder TIDINGS_BARE (build/bare) debootstrap makes a root of each release, once, which nothing changes any more. Its copies run
# in namespaces of their own (processes, mounts, host name, and a network, whose way out is slirp4netns): this machine keeps its ports,
# and whatever happens nothing stays mounted or running. Packages come from where this machine has its own.
#
# Sourced by a script $here/$me. In a root it is called again, as process 1: --inside ARGUMENT...; before that, on the way, --enter
# ARGUMENT..., which it hands to enter().

bare=${TIDINGS_BARE:-$top/build/bare}

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "$me" "$1" >&2
	exit 2
}

# What the root of RELEASE needs of this machine to reach Debian and npm: written into the root FOLDER, never into the checkout.
connect_root() {
	local release=$1 root=$2 host file name value
	host=$(. /etc/os-release && echo "$VERSION_CODENAME")
	rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
	mkdir -p "$root/etc/apt/sources.list.d" "$root/etc/apt/apt.conf.d"
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
		[ ! -s "$file" ] || sed "s/\b$host\b/$release/g" "$file" >"$root$file"
	done
	# How to connect and what to believe; not what happens when packages are installed.
	apt-config dump | grep -E '^Acquire::(https?|Check|Retries|ForceIPv)' >"$root/etc/apt/apt.conf.d/90bare" || true
	cp /usr/share/keyrings/debian-archive-*.gpg "$root/usr/share/keyrings/"
	if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
		mkdir -p "$root/usr/local/share"
		cp /etc/ssl/certs/ca-certificates.crt "$root/usr/local/share/bare-ca.crt"
	fi
	: >"$root/etc/npmrc"
	for name in registry proxy https-proxy noproxy; do
		value=$(npm config get "$name" 2>/dev/null) && [ -n "$value" ] && [ "$value" != null ] && [ "$value" != undefined ] &&
			printf '%s=%s\n' "$name" "$value" >>"$root/etc/npmrc"
	done
	[ ! -e "$root/usr/local/share/bare-ca.crt" ] || echo cafile=/usr/local/share/bare-ca.crt >>"$root/etc/npmrc"
	printf 'nameserver 10.0.2.3\n' >"$root/etc/resolv.conf"
	printf '127.0.0.1 localhost bare\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
	echo bare >"$root/etc/hostname"
}

may_make_roots() {
	local name
	[ "$(id -u)" -eq 0 ] || die "only root may make roots and namespaces"
	for name in debootstrap slirp4netns git; do
		command -v $name >/dev/null || apt-get -qy install $name >/dev/null 2>&1 || die "$name is missing: apt-get install $name"
	done
	trap 'exit 130' INT TERM
}

# The root of RELEASE is there, and nobody else's copies of it are made meanwhile.
pristine_root() {
	local release=$1 folder=$bare/$1 mirror
	mkdir -p "$folder"
	exec 5>"$folder/lock"
	flock -n 5 || die "another tests/bare or tests/packages is at $release"
	[ ! -e "$folder/pristine/.complete" ] || return 0
	say "# making a minimal root of $release"
	rm -rf "$folder/pristine"
	mkdir -p "$folder/pristine"
	mirror=$(sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *([^ ]*\/debian)\/?( .*|$)/\3/p' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
	local script=()
	[ -e "/usr/share/debootstrap/scripts/$release" ] || script=(/usr/share/debootstrap/scripts/sid)
	# Its mounts end with the namespace.
	unshare --mount --pid --fork --kill-child debootstrap --variant=minbase --include=sudo "$release" "$folder/pristine" \
		"${mirror:-http://deb.debian.org/debian}" "${script[@]}" >"$folder/debootstrap.log" 2>&1 ||
		{ tail -n 5 "$folder/debootstrap.log" >&2; die "debootstrap failed: $folder/debootstrap.log"; }
	connect_root "$release" "$folder/pristine"
	chroot "$folder/pristine" useradd --create-home --shell /bin/bash op
	echo 'op ALL=(ALL) NOPASSWD: ALL' >"$folder/pristine/etc/sudoers.d/op"
	rm -f "$folder/pristine"/var/cache/apt/archives/*.deb
	touch "$folder/pristine/.complete"
}

# in_root ROOT ARCHIVES ARGUMENT...: this script, inside
in_root() {
	local root=$1 archives=$2 child slirp status
	shift 2
	mkdir -p "$root/.script/lib"
	cp "$here/$me" "$root/.script/"
	cp "$here/lib/root.sh" "$root/.script/lib/"
	setpriv --pdeathsig KILL unshare --mount --net --pid --ipc --uts --fork --kill-child \
		"$here/$me" --enter "$root" "$archives" "$@" <&0 &
	child=$!
	# Its namespaces are there when its network is another.
	while kill -s 0 $child 2>/dev/null && [ "$(readlink /proc/$child/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do
		sleep 0.02
	done
	setpriv --pdeathsig KILL slirp4netns --configure --mtu=65520 --disable-host-loopback $child tap0 >"$root.network.log" 2>&1 &
	slirp=$!
	wait $child
	status=$?
	kill $slirp 2>/dev/null
	wait $slirp 2>/dev/null
	return $status
}

# In the namespaces, still with this machine's files: the root gets its own /proc, /dev, /run, and becomes /.
enter() {
	local root=$1 archives=$2 node
	shift 2
	set -e
	mount --make-rprivate /
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t tmpfs -o mode=755 tmpfs "$root/dev"
	for node in null zero full random urandom tty; do
		: >"$root/dev/$node"
		mount --bind "/dev/$node" "$root/dev/$node"
	done
	mkdir "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,gid=5,mode=620 devpts "$root/dev/pts"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
	ln -s /proc/self/fd "$root/dev/fd"
	ln -s /proc/self/fd/0 "$root/dev/stdin"
	ln -s /proc/self/fd/1 "$root/dev/stdout"
	ln -s /proc/self/fd/2 "$root/dev/stderr"
	ln -s pts/ptmx "$root/dev/ptmx"
	mount -t tmpfs -o mode=755 tmpfs "$root/run"
	mkdir "$root/run/lock"
	chmod 1777 "$root/run/lock"
	# Each package is fetched once.
	mkdir -p "$archives/partial"
	chmod 755 "$archives"
	mount --bind "$archives" "$root/var/cache/apt/archives"
	hostname bare
	cd "$root"
	mkdir -p .host
	pivot_root . .host
	exec chroot . /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM="${TERM:-dumb}" \
		/bin/bash -c 'umount -l /.host && rmdir /.host && me=$1 && shift && exec /bin/bash "/.script/$me" --inside "$@"' - "$me" "$@"
}

# fresh_root RELEASE NAME
fresh_root() {
	rm -rf "${bare:?}/$1/$2"
	cp -a --reflink=auto "$bare/$1/pristine" "$bare/$1/$2"
	mkdir "$bare/$1/$2/.logs"
}

clone_into() {
	local root=$1 user=$2 folder=/root/tidings
	[ "$user" = root ] || folder=/home/op/tidings
	git clone -q --no-hardlinks "$top" "$root$folder" || die "this checkout cannot be cloned"
	[ "$user" = root ] || chroot "$root" chown -R op: "$folder"
}

passed=0
failed=0

# report STATUS SENTENCE SECONDS [WHY]
report() {
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
		say "ok - $2 ($3 s)"
	else
		failed=$((failed + 1))
		say "not ok - $2 ($3 s)"
		[ -z "${4-}" ] || sed 's/^/#	/' <<<"$4"
	fi
}

# test_that SENTENCE COMMAND...: it ends with 0; what it prints is shown when it does not
test_that() {
	local sentence=$1 started=$SECONDS out status
	shift
	# In this shell: what it starts is the next one's too.
	"$@" >/.out 2>&1
	status=$?
	out=$(cat /.out)
	report $status "$release, $user: $sentence" $((SECONDS - started)) "$(tail -n 30 <<<"$out")"
	printf '%s\n' "--- $sentence" "$out" >>"/.logs/$user-step-$step.log"
	return $status
}

wrong() {
	printf '%s\n' "$*"
	return 1
}

# blocks FIRST LAST [PAGE]: the code blocks without a language in README, or another page, from one line that begins so to another
blocks() {
	awk -v first="$1" -v last="$2" '
		index($0, last) == 1 { exit }
		index($0, first) == 1 { on = 1 }
		on && /^```/ { inside = !inside; plain = $0 == "```"; n += inside && plain; next }
		on && inside && plain { print n "\t" $0 }' "$checkout/${3-README.md}"
}

block() {
	sed -n "s/^$1	//p" /.blocks
}
