//! Three real server processes: the one line each takes, and a leader that is killed.

mod common;

use std::time::Duration;

use common::{Scratch, Server, credentials, free_addresses};
use steadfast::{Client, Config};

struct Cluster {
    scratch: Scratch,
    addresses: Vec<String>,
    nodes: Vec<Option<Server>>,
}

impl Cluster {
    fn start() -> Self {
        let mut cluster = Self {
            scratch: Scratch::new(),
            addresses: free_addresses(3),
            nodes: (0..3).map(|_| None).collect(),
        };
        (0..3).for_each(|place| cluster.start_node(place));
        cluster
    }

    fn start_node(&mut self, place: usize) {
        let mut options = vec!["--id".to_owned(), (place + 1).to_string()];
        options.extend(["--listen".to_owned(), self.addresses[place].clone()]);
        for (other, address) in self.addresses.iter().enumerate().filter(|(other, _)| *other != place) {
            options.extend(["--peer".to_owned(), format!("{}={address}", other + 1)]);
        }
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        self.nodes[place] = Some(Server::start_with(&self.data(place), &options));
    }

    fn data(&self, place: usize) -> std::path::PathBuf {
        self.scratch.path().join(format!("node{}", place + 1))
    }

    /// A client that knows these nodes only. The first start's administrator is on the node that led first.
    async fn client(&self, places: &[usize]) -> Client {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let (user, password) = loop {
            let found = (0..3).find(|place| self.data(*place).join("root-credentials").exists());
            if let Some(place) = found {
                break credentials(&self.data(place));
            }
            assert!(tokio::time::Instant::now() < deadline, "the cluster was founded in time");
            tokio::task::yield_now().await;
        };
        let config = Config::new(places.iter().map(|place| self.addresses[*place].clone()));
        // The file is there a moment before its user is; until then the password is wrong.
        loop {
            match Client::connect(config.clone().credentials(user.as_str(), password.as_str())).await {
                Ok(client) => return client,
                Err(error) => assert!(tokio::time::Instant::now() < deadline, "nobody lets us in: {error}"),
            }
        }
    }

    async fn leader(&self, client: &Client) -> usize {
        let info = client.info().await.expect("it is answered");
        let leader = info.into_iter().find(|(name, _)| name == "leader").map(|(_, value)| value);
        match leader {
            Some(steadfast::client::Value::Int(id)) => usize::try_from(id - 1).expect("a node's number"),
            other => panic!("INFO names a leader, and not {other:?}"),
        }
    }
}

#[tokio::test]
async fn any_node_takes_any_command() {
    let cluster = Cluster::start();
    for place in 0..3 {
        let client = cluster.client(&[place]).await;
        client.set(format!("from{place}"), "here").await.expect("it is acknowledged");
        for other in 0..=place {
            let value = client.get(format!("from{other}")).await.expect("it is answered");
            assert_eq!(value.as_deref(), Some(&b"here"[..]));
        }
        client.close().await;
    }
}

#[tokio::test]
async fn writes_go_on_and_none_is_lost_when_the_leader_is_killed() {
    let mut cluster = Cluster::start();
    let client = cluster.client(&[0, 1, 2]).await;
    for round in 0..2 {
        for _ in 0..20 {
            client
                .incr_by("counter", 1)
                .await
                .expect("a session's write is retried until it is acknowledged");
        }
        let leader = cluster.leader(&client).await;
        cluster.nodes[leader].take().expect("it runs").kill();
        for _ in 0..20 {
            client.incr_by("counter", 1).await.expect("two of three go on");
        }
        let total = client.incr_by("counter", 0).await.expect("it is answered");
        assert_eq!(total, (round + 1) * 40, "every write took effect once");
        cluster.start_node(leader);
    }
    client.close().await;
}
