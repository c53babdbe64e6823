//! The client library against a real server, and against one that says nothing.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Scratch, Server, address_of_nobody};
use steadfast::client::{Blob, Condition, ErrorCode, Index, Observed, OpOutcome, SetOptions};
use steadfast::{Client, Config};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn typed_helpers_say_what_the_commands_mean() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let client = server.client().await;
    client.set("a", "1").await.expect("set");
    assert_eq!(client.incr_by("a", 41).await.expect("incrby"), 42);
    let (value, revision) = client.get_with_revision("a").await.expect("getv").expect("it is there");
    assert_eq!(&*value, b"42");
    let with = |condition| SetOptions { condition, ttl: None };
    assert!(!client.set_with("a", "x", with(Condition::Missing)).await.expect("set nx"));
    assert!(client.set_with("a", "x", with(Condition::Revision(revision))).await.expect("set ifversion"));
    assert!(!client.set_with("a", "y", with(Condition::Revision(revision))).await.expect("set ifversion"));
    assert!(client.set_with("b", "y", with(Condition::Revision(Index(0)))).await.expect("set ifversion 0"));
    assert!(client.expire("a", Duration::from_secs(100)).await.expect("pexpire"));
    assert!((1..=100_000).contains(&client.pttl("a").await.expect("pttl")));
    assert!(client.persist("a").await.expect("persist"));
    assert_eq!(client.pttl("a").await.expect("pttl"), -1);
    client.mset([("c", "3"), ("d", "4")]).await.expect("mset");
    let values = client.mget(["a", "none", "d"]).await.expect("mget");
    assert_eq!(values, [Some(Blob::from("x")), None, Some(Blob::from("4"))]);
    let page = client.scan("", None, 3).await.expect("scan");
    assert_eq!(page.keys, ["a", "b", "c"].map(Blob::from));
    let page = client.scan("", page.cursor, 3).await.expect("scan");
    assert_eq!((page.keys, page.cursor), (vec![Blob::from("d")], None));
    assert_eq!(client.exists(["a", "a", "none"]).await.expect("exists"), 2);
    assert_eq!(client.del(["a", "b", "none"]).await.expect("del"), 2);
    assert_eq!(client.get("a").await.expect("get"), None);
    client.close().await;
}

#[tokio::test]
async fn many_commands_share_one_connection_and_each_gets_its_own_answer() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let client = server.client().await;
    let tasks: Vec<_> = (0..500)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                client.set(format!("key{number}"), number.to_string()).await.expect("set");
                let value = client.get(format!("key{number}")).await.expect("get").expect("it was set");
                assert_eq!(&*value, number.to_string().as_bytes());
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every answer is the right one");
    }
    client.close().await;
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way_and_refuses_the_rest() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let client = server.client().await;
    let (writer, other) = (client.clone(), client.clone());
    let write = tokio::spawn(async move { writer.set("key", "value").await });
    tokio::task::yield_now().await;
    client.close().await;
    write.await.expect("no panic").expect("it was under way before the close");
    let error = other.get("key").await.expect_err("the client is closed");
    assert_eq!((error.code(), error.is_definite()), (ErrorCode::ShuttingDown, true));
}

#[tokio::test]
async fn an_observer_sees_every_fact_that_a_history_needs() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = seen.clone();
    let client = server
        .client_with(move |config| {
            config.observer(move |observation| {
                let line = match &observation.event {
                    Observed::Invoke { args } => format!("{} invoke {}", observation.op, args[0]),
                    Observed::Done { outcome: OpOutcome::Ok(_), receipt, node, once, .. } => {
                        assert!(node.is_some());
                        format!("{} ok {} {}", observation.op, receipt.is_some(), once.is_some())
                    }
                    Observed::Done { outcome, .. } => format!("{} {outcome:?}", observation.op),
                };
                recorder.lock().expect("no observer panicked").push(line);
            })
        })
        .await;
    client.set("key", "value").await.expect("set");
    client.close().await;
    let seen = seen.lock().expect("no observer panicked").clone();
    assert_eq!(seen, ["1 invoke PING", "1 ok true false", "2 invoke SET", "2 ok true true"]);
}

#[tokio::test]
async fn a_deadline_without_an_answer_is_definite_only_if_nothing_was_sent() {
    let (_nobody, address) = address_of_nobody();
    let config = Config::new(vec![address]).deadline(Duration::from_millis(200));
    let error = Client::start(config).expect("it starts").set("a", "b").await.expect_err("nobody answers");
    assert_eq!((error.code(), error.is_definite()), (ErrorCode::DeadlineExceeded, true));
}

#[tokio::test]
async fn the_last_clone_takes_the_connection_along() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback is there");
    let address = listener.local_addr().expect("it is bound").to_string();
    let client =
        Client::start(Config::new([address]).deadline(Duration::from_millis(100))).expect("it starts");
    let asking = client.clone();
    let ask = tokio::spawn(async move { asking.get("key").await });
    let (mut server, _) = listener.accept().await.expect("the client connects");
    ask.await.expect("no panic").expect_err("nobody answers");
    drop(client);
    let mut hello = Vec::new();
    server.read_to_end(&mut hello).await.expect("the client closes in order");
    assert!(hello.starts_with(b"SFC1"));
}
