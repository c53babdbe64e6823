//! How the client finds a node, moves to the leader, and leaves one that is broken or silent.

use super::*;

#[test]
fn the_hello_says_who_the_client_is() {
    let credentials = Some(Credentials { user: Blob::from("u"), password: "p".into() });
    let mut t = Bench::new(ClientConfig {
        credentials,
        cluster: Some("test".into()),
        name: "counter".into(),
        ..config(1)
    });
    assert!(t.connects.is_empty(), "nothing to do, no connection");
    t.submit(1, "GET k");
    let (_, _, hello) = t.greet();
    assert_eq!(hello.versions, (1, 1));
    assert_eq!((hello.client.as_str(), hello.cluster.as_deref()), ("counter", Some("test")));
    assert_eq!(hello.auth, Some((Blob::from("u"), "p".into())));
}

#[test]
fn the_client_moves_to_the_leader_that_it_is_told() {
    let mut t = Bench::new(config(3));
    t.submit(1, "GET k");
    let (first, node, _) = t.greet();
    let leader = (node + 1) % 3;
    t.say(first, ServerFrame::Welcome(Welcome { leader: led_by(leader), ..welcome(node) }));
    assert_eq!(t.closed, [first]);
    assert_eq!(t.connects.front().map(|&(_, address)| address), Some(leader), "at once");
    let (second, node, _) = t.greet();
    t.say(second, ServerFrame::Welcome(Welcome { leader: led_by(node), ..welcome(node) }));
    assert_eq!(t.requests(second), ["GET k"]);
}

#[test]
fn a_leader_that_is_not_in_the_list_is_reached_through_the_node_at_hand() {
    let mut t = Bench::new(config(3));
    t.submit(1, "GET k");
    let (conn, node, _) = t.greet();
    let leader = Some((NodeId(99), "elsewhere:7000".into()));
    t.say(conn, ServerFrame::Welcome(Welcome { leader, ..welcome(node) }));
    assert_eq!(t.requests(conn), ["GET k"]);
}

#[test]
fn a_leader_that_just_failed_is_not_gone_back_to_on_hearsay() {
    let mut t = Bench::new(config(2));
    t.submit(1, "GET k");
    let (dead, leader) = t.dialled();
    t.step(ClientInput::ConnectFailed { conn: dead });
    let (conn, node, _) = t.greet();
    assert_ne!(node, leader);
    t.say(conn, ServerFrame::Welcome(Welcome { leader: led_by(leader), ..welcome(node) }));
    assert_eq!(t.requests(conn), ["GET k"]);
}

#[test]
fn two_nodes_that_name_each_other_are_not_followed_for_ever() {
    let mut t = Bench::new(config(2));
    t.submit(1, "GET k");
    for _ in 0..2 {
        let (conn, node, _) = t.greet();
        t.say(conn, ServerFrame::Welcome(Welcome { leader: led_by(1 - node), ..welcome(node) }));
        assert!(t.closed.contains(&conn));
    }
    let (conn, node, _) = t.greet();
    t.say(conn, ServerFrame::Welcome(Welcome { leader: led_by(1 - node), ..welcome(node) }));
    assert_eq!(t.requests(conn), ["GET k"]);
}

#[test]
fn every_address_is_tried_in_turn_with_growing_pauses() {
    let mut t = Bench::new(config(3));
    t.submit(1, "GET k");
    let mut tried = Vec::new();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let before = t.now;
        while t.connects.is_empty() {
            t.pass(1);
        }
        pauses.push(t.now.since(before).0);
        let (conn, address) = t.dialled();
        tried.push(address);
        t.step(ClientInput::ConnectFailed { conn });
    }
    let first = tried[0];
    assert!(tried.iter().enumerate().all(|(turn, &address)| address == (first + turn) % 3), "{tried:?}");
    assert!(pauses[11] >= 500_000 && pauses[11] <= 1_001_000, "{pauses:?}");
    assert!(pauses[1] <= 11_000, "{pauses:?}");
}

#[test]
fn a_server_that_accepts_and_never_answers_is_left() {
    let mut t = Bench::new(ClientConfig { attempt_ms: 400, ..config(2) });
    t.submit(1, "SET k v");
    let first = t.accept_with_session(9);
    assert_eq!(t.requests(first).len(), 1);
    t.pass(499);
    assert!(t.closed.is_empty(), "its own word that time is up is worth waiting for");
    t.pass(1);
    assert_eq!(t.closed, [first]);
    let second = t.accept();
    assert_eq!(t.requests(second), ["SET k v @9.1/0"]);
}

#[test]
fn a_server_that_never_welcomes_and_one_that_never_connects_are_left() {
    let mut t = Bench::new(config(2));
    t.submit(1, "GET k");
    let (first, ..) = t.dialled();
    t.pass(2000);
    assert_eq!(t.closed, [first]);
    let (second, ..) = t.greet();
    t.pass(5000);
    assert_eq!(t.closed, [first, second]);
}

#[test]
fn a_welcome_that_drips_in_byte_by_byte_is_understood_and_one_that_drips_too_slowly_is_not_waited_for() {
    let mut t = Bench::new(config(1));
    t.submit(1, "GET k");
    let (first, ..) = t.greet();
    let bytes = ServerFrame::Welcome(welcome(0)).encode(LARGE).expect("small");
    for at in 0..bytes.len() {
        t.step(ClientInput::Bytes { conn: first, data: bytes.slice(at..=at) });
    }
    assert_eq!(t.requests(first), ["GET k"]);
    t.hang_up(first);
    let (second, ..) = t.greet();
    for at in 0..6 {
        t.step(ClientInput::Bytes { conn: second, data: bytes.slice(at..=at) });
        t.pass(900);
    }
    assert!(t.closed.contains(&second));
}

#[test]
fn bytes_that_make_no_sense_close_the_connection() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let first = t.accept_with_session(9);
    t.request(first);
    t.step(ClientInput::Bytes { conn: first, data: bytes(b"HTTP/1.1 400 Bad Request") });
    assert_eq!(t.closed, [first]);
    let (second, node, _) = t.greet();
    t.say(second, ServerFrame::Response(Response { id: uuid::Uuid::nil(), reply: ok(), node: NodeId(1) }));
    assert!(t.closed.contains(&second), "an answer before the welcome");
    let third = t.accept();
    t.say(third, ServerFrame::Welcome(welcome(node)));
    assert!(t.closed.contains(&third), "a second welcome");
    let fourth = t.accept();
    assert_eq!(t.requests(fourth), ["SET k v @9.1/0"]);
}

#[test]
fn a_goodbye_that_no_retry_can_mend_fails_everything_and_a_later_command_tries_anew() {
    for code in [ErrorCode::Version, ErrorCode::WrongCluster, ErrorCode::WrongPassword] {
        let mut t = Bench::new(config(2));
        t.submit(1, "GET k");
        t.submit(2, "SET k v");
        let (conn, ..) = t.greet();
        t.say(conn, ServerFrame::Goodbye(Failure::new(code, "no")));
        assert_eq!((t.told(1).failed(), t.told(2).failed()), (Some(code), Some(code)));
        t.submit(3, "GET k");
        let conn = t.accept();
        assert_eq!(t.requests(conn), ["GET k"]);
    }
}

#[test]
fn a_final_goodbye_leaves_what_is_in_doubt_in_doubt() {
    let mut t = Bench::new(config(1));
    t.submit(1, "SET k v");
    let first = t.accept_with_session(9);
    t.request(first);
    t.hang_up(first);
    let (second, ..) = t.greet();
    t.say(second, ServerFrame::Goodbye(Failure::new(ErrorCode::WrongPassword, "no")));
    assert_eq!(t.told(1).unknown(), Some(ErrorCode::WrongPassword));
}

#[test]
fn any_other_goodbye_sends_the_client_elsewhere() {
    let mut t = Bench::new(config(2));
    t.submit(1, "SET k v");
    let first = t.accept_with_session(9);
    t.request(first);
    t.say(first, ServerFrame::Goodbye(Failure::new(ErrorCode::ShuttingDown, "rolling upgrade")));
    let second = t.accept();
    assert_eq!(t.requests(second), ["SET k v @9.1/0"]);
}

#[test]
fn a_server_of_another_cluster_is_refused_even_if_it_does_not_say_so() {
    let mut t = Bench::new(ClientConfig { cluster: Some("prod".into()), ..config(1) });
    t.submit(1, "GET k");
    t.accept();
    assert_eq!(t.told(1).failed(), Some(ErrorCode::WrongCluster));
}

#[test]
fn a_server_that_passes_over_the_credentials_gets_no_command() {
    let credentials = Some(Credentials { user: Blob::from("u"), password: "p".into() });
    let mut t = Bench::new(ClientConfig { credentials, ..config(1) });
    t.submit(1, "GET k");
    let (conn, node, _) = t.greet();
    t.say(conn, ServerFrame::Welcome(Welcome { authenticated: false, ..welcome(node) }));
    assert_eq!(t.closed, [conn]);
}

#[test]
fn no_more_flies_than_the_server_allows() {
    let mut t = Bench::new(config(1));
    let submit = |t: &mut Bench| (1..=5).for_each(|op| t.submit(op, "GET k"));
    submit(&mut t);
    let (conn, node, _) = t.greet();
    t.say(conn, ServerFrame::Welcome(Welcome { inflight_requests: 2, ..welcome(node) }));
    let first = t.request(conn);
    assert_eq!(t.requests(conn).len(), 1);
    t.reply(conn, &first, ok());
    assert_eq!(t.requests(conn).len(), 1);

    let mut t = Bench::new(config(1));
    submit(&mut t);
    let (conn, node, _) = t.greet();
    t.say(conn, ServerFrame::Welcome(Welcome { inflight_bytes: 180, ..welcome(node) }));
    assert_eq!(
        t.requests(conn).len(),
        2,
        "each takes some fifty bytes, and is counted as at most ninety-three"
    );
}

#[test]
fn a_node_without_a_leader_is_left_for_another_and_kept_if_there_is_none() {
    let mut t = Bench::new(config(2));
    t.submit(1, "GET k");
    let first = t.accept();
    let request = t.request(first);
    t.reply(first, &request, refusal(ErrorCode::NoLeader));
    assert_eq!(t.closed, [first]);

    let mut t = Bench::new(config(1));
    t.submit(1, "GET k");
    let only = t.accept();
    let request = t.request(only);
    t.reply(only, &request, refusal(ErrorCode::NoLeader));
    t.pass(20);
    assert_eq!((t.closed.len(), t.requests(only).len()), (0, 1));
}

#[test]
fn a_connection_that_is_left_is_listened_to_only_so_long() {
    let mut t = Bench::new(config(2));
    t.submit(1, "SET k 1");
    t.submit(2, "SET k 2");
    let first = t.accept_with_session(9);
    let one = t.request(first);
    t.reply(first, &one, refusal(ErrorCode::LeaderLost));
    t.pass(499);
    assert!(t.closed.is_empty(), "the answer to the second may come");
    t.pass(1);
    assert_eq!(t.closed, [first]);
}
