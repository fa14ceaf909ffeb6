//! Three nodes: a leader that dies, a quorum that is lost, standbys that lag.

use std::time::Duration;

use kdc_testbed::bao::{Bao, BaoCluster};

use crate::fixture::{Fixture, Scale, set_up};
use crate::table::Table;

const SHORT: Duration = Duration::from_secs(3);
/// A new leader is elected, and takes its time to be active.
const FAILOVER: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_cluster_that_loses_nodes_goes_on_or_heals() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let cluster = BaoCluster::start(Bao::options()).await.unwrap();
            let leader = cluster.leader().await.unwrap();
            let root = cluster.nodes()[leader].root().clone();
            let role = set_up(&root).await;
            let addresses = cluster.addresses().join(",");
            let token = root.token().to_owned();
            let table = Table::new("4-cluster");
            let mut fixture =
                Fixture::start(table, Scale::of(1_500), cluster, (role, &addresses, token)).await;
            let s = &mut fixture;
            s.fault(
                "standbys lag behind rotations",
                async |s| {
                    let leader = s.backend.leader().await.unwrap();
                    for _ in 0..5 {
                        let root = s.backend.nodes()[leader].root();
                        root.rotate_key("transit", "etcd").await.unwrap();
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                },
                SHORT,
                async |_| (),
            )
            .await;
            s.fault(
                "the leader steps down",
                async |s| {
                    s.backend.step_down().await.unwrap();
                },
                SHORT,
                async |_| (),
            )
            .await;
            s.fault(
                "the leader killed with SIGKILL, then restarted",
                async |s| {
                    let leader = s.backend.leader().await.unwrap();
                    s.backend.nodes_mut()[leader]
                        .process()
                        .kill()
                        .await
                        .unwrap();
                },
                FAILOVER,
                restart_dead,
            )
            .await;
            s.fault(
                "two of three nodes killed, then restarted",
                async |s| {
                    let leader = s.backend.leader().await.unwrap();
                    for place in (0..3).filter(|place| *place != leader) {
                        s.backend.nodes_mut()[place].process().kill().await.unwrap();
                    }
                },
                SHORT,
                restart_dead,
            )
            .await;
            fixture.finish();
        })
        .await;
}

async fn restart_dead(s: &mut Fixture<BaoCluster>) {
    for node in s.backend.nodes_mut() {
        if node.process().exit_code().unwrap().is_some() {
            node.restart().await.unwrap();
        }
    }
    s.backend.leader().await.unwrap();
}
