//! Real processes: two nodes with data and a witness. Each is killed in turn under writes, and nothing is lost; and the witness with a
//! node that was away stops, and both say why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use steadfast_tests::binary;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::process::{run, text};
use steadfast_tests::scratch::wait_for;

/// The place of the witness.
const WITNESS: usize = 2;

fn start(name: &str) -> (Cluster, Operator) {
    let cluster = Cluster::start_with(name, |place, options| {
        if place == WITNESS { options.small_files().arg("--witness") } else { options.small_files() }
    });
    let operator = Operator::of(&cluster);
    (cluster, operator)
}

/// An operator, who knows the administrator's password.
struct Operator {
    user: String,
    password_file: PathBuf,
}

impl Operator {
    fn of(cluster: &Cluster) -> Self {
        let ((user, password), password_file) = (cluster.credentials(), cluster.scratch().join("password"));
        fs::write(&password_file, password).expect("writable");
        Self { user, password_file }
    }

    fn run(&self, words: &[&str], address: &str) -> Output {
        let mut command = binary::command();
        command.args([words[0], "--addr", address, "--user", &self.user, "--password-file"]);
        command.arg(&self.password_file).args(&words[1..]);
        run(command, b"")
    }

    /// What a command prints; it must succeed.
    fn ask(&self, address: &str, words: &[&str]) -> String {
        let output = self.run(&[&["cli", "--retry", "30s"], words].concat(), address);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Waits until a node says that the cluster is degraded, or whole.
    fn wait_until(&self, address: &str, degraded: bool) {
        let wanted = format!("degraded: (integer) {}", u8::from(degraded));
        wait_for("the cluster to be degraded, or whole", || {
            self.ask(address, &["INFO"]).contains(&wanted).then_some(())
        });
    }
}

/// Whether these bytes lie anywhere in a data directory.
fn lies_in(data: &Path, word: &str) -> bool {
    let files = fs::read_dir(data).expect("a directory");
    files
        .filter_map(|file| fs::read(file.expect("a file").path()).ok())
        .any(|bytes| bytes.windows(word.len()).any(|window| window == word.as_bytes()))
}

#[test]
fn two_nodes_and_a_witness_survive_the_loss_of_any_one() {
    let (mut cluster, operator) = start("witness-any-one");
    let mut written = Vec::new();
    for round in 0..2 {
        for killed in [0, WITNESS, 1] {
            let there = cluster.addresses[usize::from(killed == 0)].clone();
            operator.wait_until(&there, false);
            cluster.kill(killed);
            for i in 0..10 {
                let key = format!("key-{round}-{killed}-{i}");
                assert_eq!(operator.ask(&there, &["SET", &key, "the-very-value"]), "OK");
                written.push(key);
            }
            if killed != WITNESS {
                operator.wait_until(&there, true);
                let said = operator.ask(&there, &["--json", "SET", "flagged", "v"]);
                assert!(said.contains("\"degraded\":true"), "the receipt says so: {said}");
            }
            cluster.restart(killed);
        }
    }
    for address in &cluster.addresses[..2] {
        operator.wait_until(address, false);
        for key in &written {
            assert_eq!(operator.ask(address, &["GET", key]), "\"the-very-value\"", "{key} at {address}");
        }
    }
    let members = operator.run(&["cluster", "status"], &cluster.addresses[0]);
    assert!(text(&members.stdout).contains("witness"), "{}", text(&members.stdout));
    let sent_on = operator.run(&["cli", "GET", "flagged"], &cluster.addresses[WITNESS]);
    assert!(text(&sent_on.stderr).contains("is a witness, and holds neither data nor users"), "{sent_on:?}");
    assert_eq!(cluster.stop(), [Some(0); 3]);
    assert!(lies_in(&cluster.data(0), "the-very-value") && lies_in(&cluster.data(1), "the-very-value"));
    assert!(!lies_in(&cluster.data(WITNESS), "the-very-value"), "a witness holds no data");
}

#[test]
fn a_witness_and_a_stale_node_stop_and_say_why() {
    let (mut cluster, operator) = start("witness-stale");
    let (up, stale) = (0, 1);
    let there = cluster.addresses[up].clone();
    operator.wait_until(&there, false);
    cluster.kill(stale);
    assert_eq!(operator.ask(&there, &["SET", "order", "paid"]), "OK");
    operator.wait_until(&there, true);
    cluster.kill(up);
    cluster.restart(stale);
    for (place, words) in [(WITNESS, "is not elected"), (stale, "only the other node with data can lead")] {
        wait_for("a node to say why nobody leads", || {
            let log = cluster.nodes[place].as_ref().expect("it runs").log_of_this_life();
            log.contains(words).then_some(())
        });
    }
    let refused = operator.run(&["cli", "GET", "order"], &cluster.addresses[stale]);
    assert!(!refused.status.success(), "nobody answers from a state that may be old: {refused:?}");
    cluster.restart(up);
    assert_eq!(operator.ask(&cluster.addresses[stale], &["GET", "order"]), "\"paid\"");
    operator.wait_until(&there, false);
    // Neither starts as the other: a witness's directory has no data, and one with data would be lost.
    cluster.kill(WITNESS);
    let data = cluster.data(WITNESS);
    let mut command = binary::command();
    command.args(["serve", "--listen", &cluster.addresses[WITNESS], "--id", "3", "--peer"]);
    command.arg(format!("1={there}")).arg("--data").arg(&data);
    let refused = run(command, b"");
    assert!(!refused.status.success());
    let said = text(&refused.stderr) + &text(&refused.stdout);
    assert!(said.contains("start this node with --witness"), "{said}");
}
