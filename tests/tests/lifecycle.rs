//! A server's life as its operator meets it: starts that must be refused and say why, kills, and orderly ends.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use steadfast_core::error::Certainty;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::load::Load;
use steadfast_tests::process::{Options, Process, run, text};
use steadfast_tests::recording::Recording;
use steadfast_tests::scratch::{Scratch, free_addresses, wait_for};
use steadfast_tests::{binary, final_log};
use uuid::Uuid;

/// The options of a server that is to be refused: what it says, and its exit code.
fn refused(data: &Path, args: &[&str]) -> (i32, String) {
    let (code, said) = Options::new(data, args.iter().copied()).refused();
    assert!(!said.contains("panicked"), "{said}");
    (code, said)
}

#[test]
fn the_first_start_writes_credentials_for_the_owner_alone() {
    let scratch = Scratch::new("lifecycle");
    let server = Process::single(&scratch.join("data"));
    let mode =
        |name: &str| std::fs::metadata(server.data().join(name)).expect("it is there").permissions().mode();
    assert_eq!(mode("root-credentials") & 0o777, 0o600);
    assert_eq!(mode("wal-0000000000000001") & 0o077, 0, "the log is nobody else's business either");
    assert!(server.banner.contains("root-credentials"), "{}", server.banner);
    let (user, password) = server.credentials();
    assert_eq!(user, "root");
    assert!(password.len() >= 20, "the password is not guessed");
    assert!(
        !server.banner.contains(&password) && !server.log().contains(&password),
        "it is written nowhere else"
    );
}

#[test]
fn what_was_acknowledged_survives_kills_of_a_single_node() {
    let scratch = Scratch::new("lifecycle");
    let data = scratch.join("data");
    let mut expected = 0;
    for life in 0..4 {
        let server = Process::single(&data);
        let mut client = server.raw();
        for number in 0..50 {
            let args = ["INCRBY".to_owned(), "counter".into(), "1".into()];
            client.request(Uuid::from_u128(number), args).expect("it is sent");
        }
        for _ in 0..50 {
            client.response().reply.outcome.expect("it is acknowledged");
        }
        expected += 50;
        assert_eq!(server.answer(&["GET", "counter"]), format!("\"{expected}\""), "in life {life}");
        // No word of farewell, and requests under way.
        for number in 0..50 {
            client.request(Uuid::from_u128(number), ["SET", "other", "value"]).expect("it is sent");
        }
        server.kill();
    }
    let server = Process::single(&data);
    assert_eq!(server.answer(&["GET", "counter"]), format!("\"{expected}\""));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_port_in_use_is_refused_with_its_address() {
    let scratch = Scratch::new("lifecycle");
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (code, said) = refused(&scratch.join("data"), &["--listen", &address]);
    assert_eq!(code, 1);
    assert!(said.contains(&format!("{address} is in use")) && said.contains("--listen"), "{said}");
}

#[test]
fn a_data_directory_in_use_is_refused_with_the_process_that_has_it() {
    let scratch = Scratch::new("lifecycle");
    let server = Process::single(&scratch.join("data"));
    let (code, said) = refused(server.data(), &["--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(said.contains(&format!("in use by another server (process {})", server.id())), "{said}");
    assert_eq!(server.answer(&["PING"]), "PONG", "the one that has it goes on");
}

#[test]
fn a_data_directory_of_another_cluster_or_node_is_refused() {
    let mut cluster = Cluster::start("lifecycle");
    let _ = cluster.credentials();
    assert_eq!(cluster.stop(), [Some(0); 3]);
    let addresses = free_addresses(3);
    let peers: Vec<String> = (1..=3).map(|id| format!("{id}={}", addresses[id - 1])).collect();
    let as_node = |id: &str, name: &str| {
        let mut args = vec!["--id", id, "--cluster", name, "--listen", &addresses[0]];
        for peer in peers.iter().filter(|peer| !peer.starts_with(id)) {
            args.extend(["--peer", peer]);
        }
        refused(&cluster.data(0), &args)
    };
    let (code, said) = as_node("2", "steadfast");
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("belongs to node 1") && said.contains("this is node 2"), "{said}");
    let (code, said) = as_node("1", "other");
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("cluster \"steadfast\"") && said.contains("cluster \"other\""), "{said}");
    let (code, said) = refused(&cluster.data(0), &["--listen", "127.0.0.1:0"]);
    assert_eq!(code, 6, "a member of three does not start as a cluster of its own: {said}");
}

#[test]
fn everybody_an_administrator_is_for_loopback_alone() {
    let scratch = Scratch::new("lifecycle");
    let (code, said) = refused(&scratch.join("data"), &["--listen", "0.0.0.0:0", "--insecure-no-auth"]);
    assert_eq!(code, 2);
    assert!(said.contains("--insecure-no-auth") && said.contains("loopback"), "{said}");
    assert!(!scratch.join("data").exists(), "nothing is created for a refused configuration");
    let open = Options::single(&scratch.join("open")).arg("--insecure-no-auth").start();
    let mut command = binary::command();
    command.args(["cli", "--addr", &open.address, "SET", "key", "value"]).current_dir(scratch.path());
    assert_eq!(text(&run(command, b"").stdout), "OK", "on loopback nobody is asked");
    assert!(!open.data().join("root-credentials").exists(), "there is no password to know");
}

#[test]
fn unknown_flags_and_commands_are_usage_errors() {
    for args in [&["serve", "--fly"][..], &["fly"], &["serve", "--log-level", "loud"], &["status", "--fly"]] {
        let mut command = binary::command();
        command.args(args);
        let output = run(command, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains("--help"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn every_acknowledged_reply_arrives_when_a_server_is_told_to_stop_under_load() {
    let scratch = Scratch::new("lifecycle");
    let data = scratch.join("data");
    let server = Process::single(&data);
    let clients: Vec<_> = (0..8_u128).map(|client| (client, server.raw())).collect();
    let (told, hear) = std::sync::mpsc::channel();
    let writers: Vec<_> = clients
        .into_iter()
        .map(|(client, mut connection)| {
            let told = told.clone();
            std::thread::spawn(move || {
                let (mut acknowledged, mut refused) = (BTreeSet::new(), BTreeSet::new());
                for number in 0_u128.. {
                    let key = format!("key/{client}/{number}");
                    if connection.request(Uuid::from_u128(number), ["SET", &key, "value"]).is_err() {
                        break;
                    }
                    let Ok(Some(frame)) = connection.receive() else { break };
                    let steadfast_core::protocol::native::ServerFrame::Response(response) = frame else {
                        break;
                    };
                    match response.reply.outcome {
                        Ok(_) => drop(acknowledged.insert(key)),
                        Err(failure) if failure.code.certainty() == Certainty::Definite => {
                            refused.insert(key);
                        }
                        Err(_) => {}
                    }
                    let _ = told.send(());
                }
                (acknowledged, refused)
            })
        })
        .collect();
    hear.iter().take(400).for_each(drop);
    assert_eq!(server.stop(), Some(0), "it stops in order");
    let results: Vec<_> =
        writers.into_iter().map(|writer| writer.join().expect("no writer panicked")).collect();
    let log =
        final_log::read(&data, steadfast_core::types::NodeId(1), "steadfast").expect("the log is whole");
    let put: BTreeSet<String> = log
        .iter()
        .flat_map(|entry| &entry.entry.effects)
        .filter_map(|effect| match effect {
            steadfast_core::state::effect::Effect::Put { key, .. } => Some(key.to_string()),
            _ => None,
        })
        .collect();
    for (acknowledged, refused) in &results {
        assert!(acknowledged.is_subset(&put), "what was acknowledged is in the log");
        assert!(refused.is_disjoint(&put), "what was refused is not");
    }
    // Each connection had one request under way, and the node answers all that it has read before it stops.
    let acknowledged: BTreeSet<_> = results.into_iter().flat_map(|(acknowledged, _)| acknowledged).collect();
    let silent: Vec<_> = put.difference(&acknowledged).collect();
    assert!(silent.is_empty(), "these were done, and nobody was told: {silent:?}");
}

#[test]
fn a_server_that_is_told_twice_to_stop_ends_at_once() {
    let scratch = Scratch::new("lifecycle");
    let mut server = Process::single(&scratch.join("data"));
    let mut client = server.raw();
    client.request(Uuid::from_u128(1), ["SET", "large", &"x".repeat(1 << 20)]).expect("it is sent");
    client.response().reply.outcome.expect("it is set");
    for number in 2..32 {
        client.request(Uuid::from_u128(number), ["GET", "large"]).expect("it is sent");
    }
    std::thread::sleep(Duration::from_millis(300));
    server.terminate();
    std::thread::sleep(Duration::from_millis(500));
    assert!(server.is_running(), "it gives a client who does not read some seconds");
    let asked = Instant::now();
    server.terminate();
    assert_eq!(server.wait(), Some(7));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
}

#[test]
fn three_servers_told_to_stop_under_load_one_after_another_stop_in_order() {
    let mut cluster = Cluster::start("lifecycle");
    let (user, _) = cluster.credentials();
    let load = Load::start(&cluster.config(), &user, &Recording::default());
    for round in 0..3 {
        let before = load.acknowledged();
        wait_for("acknowledged writes", || (load.acknowledged() >= before + 100).then_some(()));
        let leader = cluster.leader();
        let server = cluster.nodes[leader].take().expect("it runs");
        assert_eq!(server.stop(), Some(0), "in round {round}");
        cluster.restart(leader);
    }
    let tally = load.stop();
    assert!(tally.failed.is_empty(), "a client goes on elsewhere: {:?}", tally.failed);
    assert_eq!(cluster.stop(), [Some(0); 3]);
}
