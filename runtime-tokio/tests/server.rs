//! One real server process: what an operator meets first, and what must hold when it ends.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::{Scratch, Server, binary, refused, text};
use steadfast::client::{Certainty, ErrorCode};
use steadfast::{Client, Config};

#[test]
fn a_fresh_start_says_where_everything_is_and_the_next_command_works() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path().join("data"));
    let hint = server.banner.lines().find_map(|line| line.trim().strip_prefix("try")).expect("a hint");
    let words: Vec<_> = hint.split_whitespace().collect();
    assert!(words[0].ends_with("steadfast"), "{hint}");
    let output = binary().args(&words[1..]).output().expect("the binary is there");
    assert_eq!(text(&output.stdout), "OK", "{}", text(&output.stderr));
    assert_eq!(server.answer(&["GET", "greeting"]), "\"hello\"");
}

#[test]
fn credentials_and_data_are_for_their_owner_alone() {
    let scratch = Scratch::new();
    let data = scratch.path().join("data");
    let _server = Server::start(&data);
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("root-credentials")), 0o600);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let client = server.client().await;
    for number in 0..50 {
        client.set(format!("key{number}"), format!("value{number}")).await.expect("it is acknowledged");
    }
    server.kill();
    drop(client);
    let server = Server::start(scratch.path());
    let client = server.client().await;
    for number in 0..50 {
        let value = client.get(format!("key{number}")).await.expect("it is answered").expect("it is there");
        assert_eq!(&*value, format!("value{number}").as_bytes());
    }
    client.close().await;
}

#[tokio::test]
async fn a_shutdown_under_load_drops_no_acknowledged_reply() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let (acknowledged, unknown) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let mut writers = Vec::new();
    for _ in 0..8 {
        let deadline = std::time::Duration::from_secs(2);
        let client = server.client_with(|config| config.deadline(deadline)).await;
        let (acknowledged, unknown) = (acknowledged.clone(), unknown.clone());
        writers.push(tokio::spawn(async move {
            loop {
                match client.incr_by("counter", 1).await {
                    Ok(_) => acknowledged.fetch_add(1, Ordering::Relaxed),
                    Err(error) if error.certainty == Certainty::Indeterminate => {
                        unknown.fetch_add(1, Ordering::Relaxed)
                    }
                    Err(_) => return,
                };
            }
        }));
    }
    while acknowledged.load(Ordering::Relaxed) < 200 {
        tokio::task::yield_now().await;
    }
    let status = tokio::task::spawn_blocking(move || server.stop()).await.expect("it was stopped");
    assert_eq!(status.code(), Some(0));
    for writer in writers {
        writer.await.expect("a writer does not panic");
    }
    let server = Server::start(scratch.path());
    let total = server.client().await.incr_by("counter", 0).await.expect("it is answered");
    let (acknowledged, unknown) = (acknowledged.load(Ordering::Relaxed), unknown.load(Ordering::Relaxed));
    // A request that arrives while the last bytes go out is not read any more, and its client can't know that.
    assert!((acknowledged..=acknowledged + unknown).contains(&total), "{acknowledged} {unknown} {total}");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path().join("first"));
    let second = scratch.path().join("second");
    let (code, said) = refused(&["--data", &second.display().to_string(), "--listen", &server.address]);
    assert_eq!(code, 1);
    assert!(said.contains(&format!("{} is in use", server.address)), "{said}");
}

#[test]
fn a_data_directory_in_use_is_a_clear_error() {
    let scratch = Scratch::new();
    let _server = Server::start(scratch.path());
    let (code, said) = refused(&["--data", &scratch.path().display().to_string(), "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(said.contains("is in use by another server (process "), "{said}");
}

#[test]
fn a_data_directory_of_another_cluster_or_node_is_refused() {
    let scratch = Scratch::new();
    let data = scratch.path().display().to_string();
    Server::start(scratch.path()).stop();
    let (code, said) = refused(&["--data", &data, "--listen", "127.0.0.1:0", "--cluster", "other"]);
    assert_eq!(code, 6, "{said}");
    let (code, said) =
        refused(&["--data", &data, "--listen", "127.0.0.1:7", "--id", "2", "--peer", "1=127.0.0.1:1"]);
    assert_ne!(code, 0, "{said}");
}

#[test]
fn a_damaged_log_is_refused_with_its_file() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    for number in 0..20 {
        server.answer(&["SET", &format!("key{number}"), "value"]);
    }
    server.stop();
    let path = scratch.path().join("wal-0000000000000001");
    let mut log = std::fs::read(&path).expect("the log is there");
    let place = log.windows(4).position(|bytes| bytes == b"key5").expect("the entry is in the log");
    log[place] ^= 0xff;
    std::fs::write(&path, log).expect("it can be written");
    let (code, said) = refused(&["--data", &scratch.path().display().to_string(), "--listen", "127.0.0.1:0"]);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("wal-0000000000000001"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn no_authentication_is_refused_where_others_can_come_in() {
    let scratch = Scratch::new();
    let data = scratch.path().join("data").display().to_string();
    let (code, said) = refused(&["--data", &data, "--listen", "0.0.0.0:0", "--insecure-no-auth"]);
    assert_eq!(code, 2);
    assert!(said.contains("loopback"), "{said}");
    assert!(!scratch.path().join("data").exists(), "nothing is created for a refused configuration");
}

#[tokio::test]
async fn a_wrong_password_is_a_definite_error() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let config = Config::new([server.address.clone()]).credentials("root", "wrong");
    let error = Client::connect(config).await.expect_err("it is wrong");
    assert_eq!((error.code(), error.is_definite()), (ErrorCode::WrongPassword, true));
}

#[test]
fn strangers_and_silent_callers_do_no_harm() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let _silent = TcpStream::connect(&server.address).expect("the server listens");
    for hello in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01",
        b"SFC1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(&server.address).expect("the server listens");
        stream.write_all(hello).expect("it is sent");
        let mut rest = Vec::new();
        // A reset is a closed connection too.
        let _ = stream.read_to_end(&mut rest);
    }
    assert_eq!(server.answer(&["PING"]), "PONG");
}

#[test]
fn a_pipe_of_commands_is_executed_line_by_line() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let script =
        "# counters\nSET name 'two words'   # quoted\n\nINCRBY n 41\nINCRBY n 1\nMGET name n missing\n";
    let output = server.cli(&[], script);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let expected = "OK\n(integer) 41\n(integer) 42\n1) \"two words\"\n2) \"42\"\n3) (nil)";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn exit_codes_tell_what_is_known() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    server.answer(&["SET", "word", "text"]);
    let failed = server.cli(&["INCRBY", "word", "1"], "");
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).starts_with("(error, definite) NOT_AN_INTEGER"), "{}", text(&failed.stderr));
    assert_eq!(server.cli(&[], "GET 'open\n").status.code(), Some(2));
    let (_nobody, nobody) = common::address_of_nobody();
    let unreachable =
        binary().args(["cli", "--addr", &nobody, "PING"]).output().expect("the binary is there");
    assert_eq!(unreachable.status.code(), Some(4));
    assert!(text(&unreachable.stderr).contains(&nobody), "{}", text(&unreachable.stderr));
    assert_eq!(binary().args(["cli", "--fly"]).output().expect("the binary is there").status.code(), Some(2));
}

#[test]
fn json_answers_carry_their_receipt() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let line = server.answer(&["--json", "SET", "key", "value"]);
    let json: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
    assert_eq!((&json["outcome"], &json["value"], &json["node"]), (&"ok".into(), &"OK".into(), &1.into()));
    assert!(json["receipt"]["position"].as_u64().is_some_and(|position| position > 0), "{line}");
    let refused = server.cli(&["--json", "FLY"], "");
    let json: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("errors are JSON too");
    assert_eq!((&json["code"], &json["certainty"]), (&"UNKNOWN_COMMAND".into(), &"definite".into()));
}

#[test]
fn status_is_a_table_or_json() {
    let scratch = Scratch::new();
    let server = Server::start(scratch.path());
    let status = |json: &[&str]| {
        let mut command = binary();
        command.args(["status", "--addr", &server.address, "--data"]).arg(scratch.path()).args(json);
        text(&command.output().expect("the binary is there").stdout)
    };
    let table = status(&[]);
    assert!(table.lines().any(|line| line.starts_with("role") && line.ends_with("leader")), "{table}");
    let json: serde_json::Value = serde_json::from_str(&status(&["--json"])).expect("it is JSON");
    assert_eq!(json["role"], "leader");
}
