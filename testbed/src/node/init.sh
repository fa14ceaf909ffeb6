# The first process of a node: makes the machine that it sees, and starts etcd, containerd and Kubernetes on it.
# `params` sets the paths of the programs, and what else Rust knows.
set -eu
folder=$1
. "$folder/params"
mkdir -p "$folder/log"

# Network: an address that is not a loopback one, as kubelet takes none of these. Both ends of the pair stay here.
hostname "$NODE"
ip link set lo up
ip link add node0 type veth peer name node0p
ip addr add "$ADDRESS/24" dev node0
ip link set node0 up
ip link set node0p up
ip route add default via 10.99.0.254
echo 1 >/proc/sys/net/ipv4/ip_forward # of this namespace

# kubelet would write these, which are those of the whole machine; it leaves alone what it finds set.
mkdir -p "$folder/sysctl"
shown() {
    echo "$2" >"$folder/sysctl/$(basename "$1")"
    mount --bind "$folder/sysctl/$(basename "$1")" "/proc/sys/$1"
}
shown vm/overcommit_memory 1
shown vm/panic_on_oom 0
shown kernel/panic 10
shown kernel/panic_on_oops 1
shown kernel/keys/root_maxkeys 1000000
shown kernel/keys/root_maxbytes 25000000

# Files: changes stay in memory. An overlay cannot carry those of containerd, so its folder and kubelet's are their own.
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/netns /run/names
for dir in etc var; do
    mkdir -p "/run/over/$dir/upper" "/run/over/$dir/work"
    mount -t overlay overlay -o "lowerdir=/$dir,upperdir=/run/over/$dir/upper,workdir=/run/over/$dir/work" "/$dir"
done
for dir in /var/lib/kubelet /var/lib/containerd /var/lib/etcd; do
    mkdir -p "$dir"
    mount -t tmpfs tmpfs "$dir"
done
mount --make-rshared /
rm -rf /etc/kubernetes /etc/cni/net.d /etc/kms-plugin
mkdir -p /etc/kubernetes/manifests /etc/cni/net.d
cp -r "$folder/pki" /etc/kubernetes/pki
cp "$folder/cni.conflist" /etc/cni/net.d/10-pods.conflist
echo "nameserver $ADDRESS" >/etc/resolv.conf
cp /etc/resolv.conf /etc/kubernetes/resolv.conf
printf '127.0.0.1 localhost\n%s %s\n' "$ADDRESS" "$NODE" >/etc/hosts

pki=/etc/kubernetes/pki
start() {
    name=$1
    shift
    "$@" >>"$folder/log/$name.log" 2>&1 &
}

# What a machine starts when it boots.
boot() {
    start dnsmasq dnsmasq --keep-in-foreground --no-resolv --no-hosts --hostsdir=/run/names --local=/svc/ --local=/local/ \
        --listen-address="$ADDRESS" --bind-interfaces --user=root --pid-file=
    start containerd containerd --config "$folder/containerd.toml"
    start etcd "$ETCD" --data-dir /var/lib/etcd/data --unsafe-no-fsync --listen-client-urls "https://127.0.0.1:2379,https://$ADDRESS:2379" \
        --advertise-client-urls "https://$ADDRESS:2379" --listen-peer-urls http://127.0.0.1:2380 --client-cert-auth \
        --trusted-ca-file "$pki/ca.crt" --cert-file "$pki/etcd-server.crt" --key-file "$pki/etcd-server.key"
    start kube-apiserver "$KUBE_APISERVER" --etcd-servers=https://127.0.0.1:2379 --etcd-cafile="$pki/ca.crt" \
        --etcd-certfile="$pki/etcd/healthcheck-client.crt" --etcd-keyfile="$pki/etcd/healthcheck-client.key" \
        --secure-port=6443 --bind-address=0.0.0.0 --advertise-address="$ADDRESS" \
        --tls-cert-file="$pki/kube-apiserver.crt" --tls-private-key-file="$pki/kube-apiserver.key" \
        --client-ca-file="$pki/ca.crt" --token-auth-file="$pki/tokens.csv" \
        --service-account-key-file="$pki/service-account.pub" --service-account-signing-key-file="$pki/service-account.key" \
        --service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC \
        --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
        --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
        --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP

    until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
    if [ ! -e "$folder/log/import.log" ]; then
        for archive in "$folder"/images/*.tar; do
            ctr --namespace k8s.io image import "$archive" >>"$folder/log/import.log" 2>&1
        done
    fi
    start kubelet "$KUBELET" --config="$folder/kubelet.yaml" --kubeconfig="$pki/kubelet.conf" --hostname-override="$NODE" \
        --node-ip="$ADDRESS" --root-dir=/var/lib/kubelet --cert-dir=/var/lib/kubelet/pki
    start kube-proxy "$KUBE_PROXY" --kubeconfig="$pki/kube-proxy.conf" --hostname-override="$NODE" --proxy-mode=iptables \
        --cluster-cidr=10.244.0.0/24 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
        --conntrack-tcp-timeout-close-wait=0 --metrics-bind-address=127.0.0.1:10249 --healthz-bind-address=127.0.0.1:10256
    touch "$folder/started"

    # Rust makes this file when kube-apiserver is ready. Before that they would end: the roles of the system are not there yet.
    until [ -e "$folder/ready" ]; do sleep 0.1; done
    controllers="$pki/kube-controller-manager.conf"
    start kube-controller-manager "$KUBE_CONTROLLER_MANAGER" --kubeconfig="$controllers" --authentication-kubeconfig="$controllers" \
        --authorization-kubeconfig="$controllers" --service-account-private-key-file="$pki/service-account.key" \
        --root-ca-file="$pki/ca.crt" --use-service-account-credentials --leader-elect=false --bind-address=127.0.0.1
    scheduler="$pki/kube-scheduler.conf"
    start kube-scheduler "$KUBE_SCHEDULER" --kubeconfig="$scheduler" --authentication-kubeconfig="$scheduler" \
        --authorization-kubeconfig="$scheduler" --leader-elect=false --bind-address=127.0.0.1
}

# The power fails: every other process of this namespace ends, and what was in memory is lost.
power_off() {
    kill -KILL -1
    wait
    for at in $(cut -d " " -f 2 /proc/mounts | sort --reverse); do
        case $at in
        /run/containerd/* | /run/netns/* | /var/lib/kubelet/*) umount --lazy "$at" || true ;;
        esac
    done
    find /run -mindepth 1 -maxdepth 1 ! -name over ! -name names -exec rm -rf {} +
    mkdir -p /run/lock /run/netns
    ip link delete cni0 || true
}

boot
# Waits for the signal, and reaps what containers leave behind, too.
trap 'power_off >>"$folder/log/power_off.log" 2>&1; boot' USR1
while :; do
    sleep 3600 &
    wait $! || true
done
