# Goes into namespaces of its own and starts the node there: `sh enter.sh FOLDER CGROUP`.
#
# The watcher outlives all of it, whatever ends it: control groups belong to no namespace, so their folders would stay.
set -eu
folder=$1 cgroup=$2
setsid sh -c '
while kill -0 "$1"; do sleep 0.1; done
for attempt in $(seq 100); do
    find /sys/fs/cgroup -depth -type d "(" -name "$2" -o -path "*/$2/*" ")" -exec rmdir {} \;
    [ -n "$(find /sys/fs/cgroup -maxdepth 3 -type d -name "$2")" ] || exit 0
    sleep 0.1
done
' watcher "$$" "$cgroup" >/dev/null 2>&1 &
# kubelet makes its groups below, but this one must be there.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ ! -e "$hierarchy/cgroup.procs" ] || mkdir "$hierarchy/$cgroup"
done
exec unshare --mount --propagation private --pid --fork --kill-child --net --uts --ipc --mount-proc sh "$folder/init.sh" "$folder"
