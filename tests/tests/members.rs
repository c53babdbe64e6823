//! The members of a real cluster change while clients write: it grows out of a single node, and outlives that one.

use std::process::Output;

use steadfast::Config;
use steadfast_tests::binary;
use steadfast_tests::load::Load;
use steadfast_tests::process::{Options, Process, run, text};
use steadfast_tests::recording::Recording;
use steadfast_tests::scratch::{Scratch, free_addresses, wait_for};

/// A cluster that was founded by node 1 alone.
struct Growing {
    addresses: Vec<String>,
    nodes: Vec<Option<Process>>,
    // Removed last, once no process uses it any more.
    scratch: Scratch,
}

impl Growing {
    fn start(name: &str) -> Self {
        let (scratch, addresses) = (Scratch::new(name), free_addresses(4));
        let founder = Options::new(&scratch.join("node1"), ["--listen", &addresses[0]]).start();
        Self { addresses, nodes: vec![Some(founder)], scratch }
    }

    /// Starts the next node, which knows this one.
    fn join(&mut self, knows: usize) -> usize {
        let number = self.nodes.len() + 1;
        let peer = format!("{knows}={}", self.addresses[knows - 1]);
        let (id, listen) = (number.to_string(), &self.addresses[number - 1]);
        let args = ["--join", "--id", &id, "--listen", listen, "--peer", &peer];
        let options = Options::new(&self.scratch.join(format!("node{number}")), args);
        self.nodes.push(Some(options.launch()));
        number
    }

    /// What `steadfast cluster` says at a node.
    fn cluster(&self, at: usize, words: &[&str]) -> Output {
        let mut command = binary::command();
        command.arg("cluster").args(words).args(["--addr", &self.addresses[at - 1]]);
        command.arg("--data").arg(self.scratch.join("node1"));
        run(command, b"")
    }

    /// Takes a step that must be done within its time.
    fn step(&self, at: usize, words: &[&str]) {
        let output = self.cluster(at, words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "OK");
    }

    fn config(&self) -> Config {
        let (user, password) =
            steadfast_tests::process::credentials(&self.scratch.join("node1")).expect("it is there");
        Config::new(self.addresses.clone()).credentials(user, password)
    }
}

#[test]
fn a_single_node_grows_under_load_and_is_replaced_and_nothing_is_lost() {
    let mut growing = Growing::start("grows");
    let config = growing.config();
    let load = Load::start(&config, "root", &Recording::default());
    load.progress(50);
    for knows in [1, 2] {
        let number = growing.join(knows).to_string();
        growing.step(1, &["add", &number, &growing.addresses[growing.nodes.len() - 1]]);
        growing.step(1, &["promote", &number]);
        load.progress(50);
    }
    growing.step(2, &["transfer", "2"]);
    let status = text(&growing.cluster(3, &["status"]).stdout);
    let leads = status.lines().find(|line| line.contains("yes    yes")).expect("somebody leads");
    assert!(leads.starts_with('2') && status.matches("voter").count() == 3, "{status}");
    load.progress(50);
    let number = growing.join(3).to_string();
    growing.step(2, &["add", &number, &growing.addresses[3]]);
    growing.step(2, &["replace", "1", &number]);
    load.progress(50);
    // It says no more, and is not missed.
    growing.nodes[0].take().expect("it runs").kill();
    load.progress(50);
    growing.nodes[2].take().expect("it runs").kill();
    load.progress(50);
    load.stop().check(&config);
    wait_for("the leader to miss node 3", || {
        let status = text(&growing.cluster(2, &["status"]).stdout);
        let third = status.lines().find(|line| line.starts_with('3')).expect("it is a member").to_owned();
        (third.split_whitespace().nth(4) == Some("no")).then_some(())
    });
    let refused = growing.cluster(2, &["remove", "4", "--wait", "0s"]);
    assert_eq!(refused.status.code(), Some(1), "nobody could commit anything: {}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("MEMBERS_BUSY"), "{}", text(&refused.stderr));
}

#[test]
fn a_node_that_is_to_join_founds_nothing_and_says_what_it_waits_for() {
    let mut growing = Growing::start("waits");
    growing.join(1);
    let refused = growing.cluster(2, &["status", "--wait", "1s"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("CLUSTER ADD 2"), "{}", text(&refused.stderr));
}
