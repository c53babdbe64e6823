//! Watches against real servers: every change is told once and in order, whatever is killed, and a right that is taken ends
//! them.

use std::time::Duration;

use steadfast::client::{Config, Content, ErrorCode, Type, Update, Watch, Watcher};
use steadfast_core::types::Index;
use steadfast_tests::cluster::Cluster;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The next change, and where it happened.
async fn change(watcher: &mut Watcher) -> (Type, Index, Option<Content>) {
    loop {
        let update = timeout(PATIENCE, watcher.next()).await.expect("in time").expect("it goes on");
        match update.expect("nothing ends it") {
            Update::Change(change) => return (change.kind, change.revision, change.content),
            Update::Progress(_) => {}
            Update::Gone(position) => panic!("nothing is gone, also not before {position}"),
        }
    }
}

#[test]
fn every_change_is_told_once_and_in_order_while_nodes_are_killed() {
    let mut cluster = Cluster::start("watches");
    runtime().block_on(async {
        let client = cluster.client(cluster.config()).await;
        let set = client.command(["SET", "count", "0"]).await.expect("set");
        let from = set.receipt.expect("a write has one").position;
        let mut watcher = client.watch(Watch::new().key("count").prefix("other:"), from).expect("it begins");
        let mut newest = from;
        let mut told = 0;
        for round in 0..6 {
            let leader = cluster.leader();
            for number in 1..=20 {
                client.command(["INCRBY", "count", "1"]).await.expect("counted once");
                if number == 10 {
                    let victims = match round % 3 {
                        0 => vec![leader],
                        1 => vec![0, 1, 2],
                        _ => vec![(leader + 1) % 3],
                    };
                    victims.iter().for_each(|place| cluster.kill(*place));
                    victims.iter().for_each(|place| cluster.restart(*place));
                }
            }
            for _ in 0..20 {
                told += 1;
                let (kind, revision, content) = change(&mut watcher).await;
                let expected = Some(Content::String(told.to_string().into()));
                assert_eq!((kind, content), (Type::Modified, expected), "at {revision}, behind {newest}");
                assert!(revision > newest, "{revision} comes behind {newest}");
                newest = revision;
            }
        }
        // Another watcher goes on in the middle, and is told the same.
        let mut again =
            client.watch(Watch::new().prefix("coun").only(Type::Modified), newest).expect("it begins");
        client.command(["DEL", "count"]).await.expect("deleted");
        client.command(["SET", "count", "new"]).await.expect("set");
        client.command(["SET", "count", "newer"]).await.expect("set");
        assert_eq!(change(&mut again).await.2, Some(Content::String("newer".into())));
        let kinds =
            [change(&mut watcher).await.0, change(&mut watcher).await.0, change(&mut watcher).await.0];
        assert_eq!(kinds, [Type::Deleted, Type::Created, Type::Modified]);
        drop((watcher, again));
        timeout(Duration::from_secs(5), client.close())
            .await
            .expect("what nobody waits for any more delays nothing");
    });
}

#[test]
fn a_watch_shows_what_may_be_seen_and_ends_when_the_right_is_taken() {
    let cluster = Cluster::start("watch-rights");
    runtime().block_on(async {
        let root = cluster.client(cluster.config()).await;
        root.command(["SET", "open:a", "before"]).await.expect("set");
        root.command(["USER", "ADD", "ann", "a good password"]).await.expect("added");
        root.command(["GRANT", "READ", "ON", "open:*", "TO", "ann"]).await.expect("granted");
        let granted = root.command(["GRANT", "WATCH", "ON", "*", "TO", "ann"]).await.expect("granted");
        let from = granted.receipt.expect("a write has one").position;
        let config: Config = cluster.config().credentials("ann", "a good password");
        let ann = cluster.client(config).await;
        let mut all = ann.watch(Watch::new().prefix(""), Index(0)).expect("it begins");
        root.command(["SET", "secret", "1"]).await.expect("set");
        let seen = root.command(["SET", "open:a", "1"]).await.expect("set");
        let (kind, revision, content) = change(&mut all).await;
        assert_eq!((kind, content), (Type::Modified, Some(Content::String("1".into()))));
        assert_eq!(
            Some(revision),
            seen.receipt.map(|receipt| receipt.position),
            "neither what was before, nor the secret"
        );
        let mut secret = ann.watch(Watch::new().key("secret"), from).expect("it begins");
        let refused = timeout(PATIENCE, secret.next()).await.expect("in time").expect("an error");
        assert_eq!(refused.expect_err("it is not hers").code(), ErrorCode::Denied);
        root.command(["REVOKE", "WATCH", "ON", "*", "FROM", "ann"]).await.expect("revoked");
        root.command(["SET", "open:a", "2"]).await.expect("set");
        let end = loop {
            match timeout(Duration::from_secs(5), all.next())
                .await
                .expect("within a bound")
                .expect("an error")
            {
                Ok(Update::Progress(_)) => {}
                Ok(update) => panic!("she may not be told of {update:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(end.code(), ErrorCode::Denied);
        assert!(timeout(PATIENCE, all.next()).await.expect("in time").is_none(), "it has ended");
    });
}
