# Runs one container in a root of its own: `sh container.sh HOST ROOT USER GROUPS PROGRAM NAME [SOURCE TARGET MODE]... -- COMMAND...`.
#
# Mounts and the name of the host are in namespaces that end with the process. Network, processes and users are those of the machine.
set -eu
host=$1 root=$2 user=$3 groups=$4 program=$5 name=$6
shift 6
echo "$host" >/proc/sys/kernel/hostname
mkdir -p "$root"
mount -t tmpfs -o mode=0755 container "$root"
for folder in dev etc proc tmp usr; do mkdir "$root/$folder"; done
chmod 1777 "$root/tmp"
mount --bind /usr "$root/usr"
mount -o remount,bind,ro "$root/usr"
mount --rbind /dev "$root/dev"
mount --bind /proc "$root/proc"
for link in bin lib lib64 sbin; do [ ! -e "/$link" ] || ln -s "usr/$link" "$root/$link"; done
for file in hosts ld.so.cache nsswitch.conf passwd resolv.conf; do [ ! -e "/etc/$file" ] || cp -L "/etc/$file" "$root/etc/"; done
if [ -n "$program" ]; then
    : >"$root/$name"
    mount --bind "$program" "$root/$name"
fi
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        mkdir -p "$root$2"
    else
        mkdir -p "$(dirname "$root$2")"
        : >"$root$2"
    fi
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
    shift 3
done
shift
if [ -n "$groups" ]; then groups=--groups=$groups; fi
exec chroot --userspec="$user" $groups "$root" "$@"
